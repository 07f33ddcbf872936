"""Tasks that chat UIs give to a model besides questions: titles, tags, search queries, ….

The prompts are those of Open WebUI, LibreChat, NextChat, LobeChat and others. A prompt is a task if
it shows a chat and the form of a JSON object, or if it tells to make a title and the like of a chat
and how long or plain that has to be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rag.types import ChatTask, ChatTaskKind, Message

HEAD_CHARS = 600
"""Characters at the beginning of a prompt that say what is to be done."""
PLAIN_CHARS = 3000
"""Most characters of a task that shows no chat: a longer text is a question about a document."""

NAMED: Mapping[str, ChatTaskKind] = {
    "title_generation": "title",
    "tags_generation": "tags",
    "follow_up_generation": "follow_ups",
    "query_generation": "search_queries",
    "autocomplete_generation": "autocompletion",
    "emoji_generation": "emoji",
    "image_prompt_generation": "image_prompt",
    "function_calling": "tool_calls",
}
"""Open WebUI's names of its tasks."""

_USERS = r"user['’]s (?:request|message|question|query)"
_TITLES = (
    r"\b(?:title|subject line|headline|titel|überschrift|titre|título|titolo|заголовок"
    r"|(?:chat|conversation|session|dialogue) an? (?:\w+ ){0,3}name"
    rf"|{_USERS} (?:in|into|as) [^.\n]{{0,60}}words)\b"
    r"|标题|標題|主题|主題|名称|タイトル|題名|제목"
)
_TAGS = r"\b(?:tags|keywords|schlagwörter|schlagworte|étiquettes|etiquetas)\b|标签|標籤|タグ"
_FOLLOW_UPS = (
    r"\b(?:follow[- _]?ups?|next questions|suggested (?:questions|replies)|anschlussfragen)\b"
)
_QUERIES = r"\b(?:(?:search|web|retrieval) quer(?:y|ies)|suchanfragen?)\b|搜索查询|検索クエリ"
_STANDALONE = r"\b(?:stand-?alone|self-contained) (?:question|query)\b"
_NOUNS: Mapping[ChatTaskKind, str] = {
    "standalone_question": _STANDALONE,
    "title": _TITLES,
    "tags": _TAGS,
    "follow_ups": _FOLLOW_UPS,
    "search_queries": _QUERIES,
}
_VERBS = (
    r"\b(?:generate|create|write|provide|give|suggest|summari[sz]e|extract|propose|make|craft"
    r"|produce|compose|return|come up with|rephrase|rewrite|reformulate|condense|name"
    r"|generier\w*|erstell\w*|schreib\w*|fasse|gib|erzeug\w*|formulier\w*"
    r"|génère|crée|résume|donne|écris|rédige|genera|crea|resume|escribe|proponi|scrivi)\b"
    r"|生成|总结|總結|概括|创建|返回|使用|作成|要約|만들"
)
_CHAT = (
    rf"\b(?:chat|conversation|dialogue?|session|discussion|exchange|messages?|{_USERS}"
    r"|gesprächs?|unterhaltung|verlauf|conversación|conversazione|discussione)\b"
    r"|对话|對話|会话|會話|聊天|闲聊|会話|대화"
)
_FORM = (
    r"\b(?:\d+|two|three|four|five|six|ten)[^.\n]{0,20}?(?:words?|characters?|letters?|wörter|wörtern"
    r"|zeichen|mots|palabras|caracteres|parole|字|文字)"
    r"|\b(?:concise|short|brief|max(?:imum)?|at most|no more than|nothing else|json|emojis?"
    r"|without (?:any )?(?:quotes|quotation|punctuation|explanation)|no (?:quotes|punctuation)"
    r"|(?:only|just|exclusively|directly) (?:the|return|respond|output|reply|with)"
    r"|(?:return|respond|output|reply|answer)(?: with)? (?:only|just|exclusively|directly)"
    r"|kurzen?|prägnante[nr]?|ausschließlich|court|concis|breve|corto)\b"
    r"|简短|簡短|不要|直接返回|以内|簡潔"
)
_KEYS: Mapping[ChatTaskKind, str] = {
    "title": r'"(\w{0,20}title\w{0,20})"\s*:\s*"',
    "tags": r'"(\w{0,20}(?:tags|keywords)\w{0,20})"\s*:\s*\[',
    "follow_ups": r'"(\w{0,20}(?:follow_?ups?|suggestions|questions)\w{0,20})"\s*:\s*\[',
    "search_queries": r'"(\w{0,20}quer(?:y|ies)\w{0,20})"\s*:\s*\[',
    "autocompletion": r'"(text)"\s*:\s*"',
    "image_prompt": r'"(prompt)"\s*:\s*"',
    "tool_calls": r'"(tool_calls)"\s*:\s*\[',
}
_ANY = re.IGNORECASE
_COMMANDS = {
    kind: re.compile(rf"(?:{_VERBS})[^.?!\n]{{0,120}}?(?:{nouns})", _ANY)
    for kind, nouns in _NOUNS.items()
}
_JSON_KEYS = {kind: re.compile(pattern, _ANY) for kind, pattern in _KEYS.items()}
_OF_A_CHAT, _IN_FORM = re.compile(_CHAT, _ANY), re.compile(_FORM, _ANY)
_EMOJI = re.compile(r"\byour task is to\b[^\n]{0,120}\bemoji\b", _ANY)
_TAGGED = re.compile(r"<\s{0,4}(?:chat_history|conversation|messages|chat|history)\s{0,4}>", _ANY)
_TURNS = re.compile(
    r"^[^\w\n]{0,8}(?:chat|conversation|dialogue) ?(?:history|transcript|log)?[ \t]{0,4}:"
    r"|^[ \t]{0,8}(?:user|human)[ \t]{0,4}:",
    _ANY | re.MULTILINE,
)
"""Lines that begin a chat; many other texts have such lines, too."""
_ASKED = re.compile(
    r"^[^\w\n]{0,4}(?:user|human|benutzer|utilisateur|usuario|utente|用户|用戶|ユーザー)"
    r"[^\w\n:\uff1a]{0,4}[:\uff1a][ \t]*(\S.*)$",
    _ANY | re.MULTILINE,
)
_LAST_ASKED = re.compile(
    r"^[^\w\n]{0,4}(?:follow[- ]?up )?(?:input|question|query)[ \t]{0,4}:[ \t]*(\S.*)$",
    _ANY | re.MULTILINE,
)


def task_of(messages: Sequence[Message], *, named: str | None = None) -> ChatTask | None:
    """Returns the task that the messages of a request are; None if they end with a question.

    `named` is the name that the client gives to its task, if any.
    """
    places = [place for place, message in enumerate(messages) if message.role == "user"]
    if not places:
        return None
    sent = tuple(messages[: places[-1] + 1])
    prompt = sent[-1].content
    own = _kind_of(prompt)
    kind = NAMED.get(named or "") or own or _kind_of_rules(sent)
    if kind is None:
        return None
    asked = _asked(sent, kind) if own else _asked(sent, kind) or (prompt,)
    return ChatTask(kind=kind, messages=sent, asked=asked, key=_key(sent, kind))


def _kind_of(prompt: str) -> ChatTaskKind | None:
    if _EMOJI.match(prompt):
        return "emoji"
    tagged, turns = _TAGGED.search(prompt) is not None, _TURNS.search(prompt) is not None
    if not (tagged or turns) and (len(prompt) > PLAIN_CHARS or prompt.rstrip().endswith("?")):
        return None
    ends = (prompt[:HEAD_CHARS], prompt[-HEAD_CHARS:])  # what is to be done stands before or after
    commands = [(_commanded(end), end) for end in ends[: 2 if tagged or turns else 1]]
    if tagged or (turns and any(kind for kind, _ in commands)):
        for kind, pattern in _JSON_KEYS.items():
            if pattern.search(prompt):
                return kind
    for command, end in commands:
        about_a_chat = _OF_A_CHAT.search(end) and (turns or _IN_FORM.search(end))
        if command and (tagged or about_a_chat):
            return command
    return None


def _kind_of_rules(sent: Sequence[Message]) -> ChatTaskKind | None:
    """Returns the task that the system's message is, if its first sentences are a command."""
    for message in sent:
        if message.role != "system" or len(message.content) > PLAIN_CHARS:
            continue
        head = message.content[:HEAD_CHARS]
        if _JSON_KEYS["tool_calls"].search(message.content) and "Available Tools" in head:
            return "tool_calls"
        kind = _commanded(head)
        if kind in ("title", "tags") and _OF_A_CHAT.search(head) and _IN_FORM.search(head):
            return kind
    return None


def _commanded(head: str) -> ChatTaskKind | None:
    """Returns the task whose command comes first; one for a standalone question names another."""
    found = {kind: pattern.search(head) for kind, pattern in _COMMANDS.items()}
    places = {kind: match.end() for kind, match in found.items() if match}
    if "standalone_question" in places:
        return "standalone_question"
    return min(places, key=lambda kind: places[kind], default=None)


def _key(sent: Sequence[Message], kind: ChatTaskKind) -> str | None:
    """Returns the field of the JSON object that the prompt asks for; None: it asks for text."""
    if kind not in _JSON_KEYS:
        return None
    rules = [message.content for message in (sent[-1], *sent[:-1]) if message.role != "assistant"]
    found = (_JSON_KEYS[kind].search(text) for text in rules)
    return next((match[1] for match in found if match), None)


def _asked(sent: Sequence[Message], kind: ChatTaskKind) -> tuple[str, ...]:
    """Returns the user's questions in the chat: those that the prompt shows, else those before."""
    prompt = sent[-1].content
    if kind == "standalone_question" and (last := _LAST_ASKED.findall(prompt)):
        return (last[-1].strip(),)
    if shown := _ASKED.findall(prompt):
        return tuple(line.strip() for line in shown)
    return tuple(message.content for message in sent[:-1] if message.role == "user")
