"""Resolves follow-up questions by rules, where no language model does it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from generation.query.core_question import core_question
from generation.query.rewriting import Rewritten
from rag.telemetry.trace import Trace
from rag.text.identifiers import identifiers
from rag.types import Message, Usage

UNRESOLVED = (
    "follow-up: the question refers to the conversation, and nothing there was found that it may"
    " mean; it was searched for as it is"
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


TURNS = 6
"""Latest turns of a conversation that are read: a question seldom refers further back."""
FEW = 3
"""Words before a pronoun, besides the asking ones, among which nothing is named."""
FRAGMENT = 6
"""Words of which a fragment has at most so many: "and for the second parent"."""

_PERSON = re.compile(r"\b(?:she|he|her|him|sie|er|ihn|ihm|ihr|elle|il|lui|ella|él|lei)\b", re.I)
_GERMAN = frozenset(["sie", "er", "ihn", "ihm", "ihr"])
"""Pronouns of things as well, in a language that gives every noun a capital letter."""
_THING = re.compile(
    r"\b(?:it(?! (?:is )?(?:possible|allowed|necessary|true))|they|them|this one|that one|"
    r"(?:this|that|these|those)(?= (?:is|are|was|were|do|does|mean|cost|apply|work)\b|\W*$)|"
    r"es|sie|ihn|diese[rsnm]?(?=\W*$)|davon|dafür|ils|elles|cela|ça|ello|esto|eso|questo)\b",
    re.I,
)
_OWN = re.compile(r"\b(?:its|their|his|deren|dessen|leurs?)\b", re.I)
_PLACE = re.compile(
    r"(?<!is )(?<!are )(?<!was )(?<!were )\b"
    r"(?:there(?! (?:is|are|was|were|any?)\b)|dort|dahin|là|allí|ahí)\b",
    re.I,
)
_WHERE = re.compile(
    r"\b(?:in|on|at|under|im|am|auf|dans|sur|en) (?:the |an? |der |dem |den |le |la |el )?"
    r"[^\W\d_][\w-]*(?: [\w-]+)?"
)
_AND = re.compile(r"(?:and|but|or|so|then|und|oder|aber|et|mais|ou|y|e)[, ]+", re.I)
_ABOUT = re.compile(
    r"(?:what about|how about|was ist mit|wie (?:ist|sieht) es (?:mit|bei)|"
    r"qu'en est-il (?:de|pour)|"
    r"(?:y|e) para)\b ?",
    re.I,
)
_ASKING = _words(
    "what when where which who whom whose why how is are was were be been do does did can could "
    "may must should shall will would has have had much many long far often old there any some "
    "the a an to i we you my our your me us get please tell about was wann wo wohin woher "
    "welche welcher welches wer wem wen warum wie viel viele lange ist sind wird werden hat "
    "haben kann darf muss soll der die das den dem des ein eine einen ich wir man quoi quand où "
    "quel quelle quels quelles qui que pourquoi comment combien est sont le la les un une des "
    "du je nous on in at for with by from im am an auf für mit bei dans pour sur now currently "
)
_WH = _words(
    "what when where which who whom whose why how is are was were do does did can may must "
    "should wann wo wohin welche welcher welches wer warum wie ist sind wird kann darf muss "
    "quand où quel quelle pourquoi comment combien est "
)
_CONNECTORS = frozenset(["of", "de", "von", "del", "di", "d'"])
_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀŁŚŻČŠŽ](?:[^\W\d_]|['-])+"
_FULL_NAME = re.compile(rf"{_CAPITAL}(?: (?:van|von|de|der|den|di|da|la))* {_CAPITAL}")
_NAME = re.compile(rf"(?<=[\w,;] ){_CAPITAL}(?!\w)")
_MARKER = re.compile(r"\s*\[\d+\]")
_WORD = re.compile(r"[^\W_][\w'-]*")


class FollowUpResolver:
    """Puts what a follow-up question refers to in its place, by rules.

    A pronoun becomes the person or the subject of the turn before, and a fragment ("And for Gold?")
    the rest of the question before.
    """

    async def rewrite(self, question: str, history: Sequence[Message], trace: Trace) -> Rewritten:
        """Returns the question to search for; `degraded` says so if it stays unresolved."""
        with trace.span("rewrite") as span:
            resolved = resolve(question, history)
            span.output = resolved
        if resolved is None:
            return Rewritten(question=question, usage=Usage(), degraded=(UNRESOLVED,))
        return Rewritten(question=resolved, usage=Usage())


def resolve(question: str, history: Sequence[Message]) -> str | None:
    """Returns the question with what it refers to; None if that is not in `history`, oldest first.

    A question that refers to nothing is returned as it is.
    """
    text = core_question(question)
    rest = _AND.sub("", text, count=1) if _AND.match(text) else text
    fragment = _fragment(rest, begun=rest != text)
    if fragment is None and not _refers(rest):
        return question
    turns = list(history)[-TURNS:]
    asked = _last_question(turns)
    if asked is None:
        return None
    if fragment is not None:
        return _completed(asked, fragment)
    said = next((m.content for m in reversed(turns) if m.role == "assistant"), "")
    return _replaced(rest, asked, _MARKER.sub("", said))


def _last_question(turns: Sequence[Message]) -> str | None:
    """Returns the user's last question, itself resolved by the turns before; None without one."""
    for place in range(len(turns) - 1, -1, -1):
        if turns[place].role == "user" and (asked := core_question(turns[place].content)):
            return resolve(asked, turns[:place]) or asked
    return None


def _fragment(text: str, *, begun: bool) -> str | None:
    """Returns `for Gold` of "And for Gold?"; None if the text is a question of its own."""
    if about := _ABOUT.match(text):
        return text[about.end() :].strip(" ?.!")
    bare = text.strip(" ?.!")
    words = bare.lower().split()
    if not words or len(words) > FRAGMENT:
        return None
    own = [word for word in words if word not in _ASKING]
    if not own and words[0] in _WH:  # "Why?", "How long?"
        return bare
    asks = any(word in _WH for word in words)
    return bare if begun and not asks else None


def _refers(text: str) -> bool:
    found = [m for p in (_PERSON, _THING, _OWN, _PLACE) if (m := p.search(text))]
    if not found:
        return False
    before = text[: min(m.start() for m in found)]
    return len([word for word in _WORD.findall(before) if word.lower() not in _ASKING]) <= FEW


def _completed(asked: str, fragment: str) -> str:
    """Returns the question before with the fragment in the place of what is like it."""
    stem = asked.strip().rstrip("?.! ")
    new, old = identifiers(fragment), identifiers(stem)
    if len(new) == len(old) == 1 and stem.count(old[0].text) == 1:
        return f"{stem.replace(old[0].text, new[0].text)}?"
    if fragment.lower().split()[0] in _WH:
        return f"{fragment} {_topic(asked)}?"
    preposition = fragment.split(maxsplit=1)[0]
    like = re.search(rf"\b{re.escape(preposition)} [^,]*$", stem)
    if like and len(fragment.split()) > 1:
        return f"{stem[: like.start()]}{fragment}?"
    return f"{stem} {fragment}?"


def _replaced(text: str, asked: str, said: str) -> str | None:
    topic = _topic(asked)
    found = _PERSON.search(text)
    single = found is not None and found[0].lower() not in _GERMAN
    person = _person(asked, single=single) or _person(said, single=single)
    if person and found:
        text = f"{text[: found.start()]}{person}{text[found.end() :]}"
    elif topic and (found := _THING.search(text) or _PERSON.search(text)):
        text = f"{text[: found.start()]}{topic}{text[found.end() :]}"
    elif topic and (found := _OWN.search(text)):
        text = f"{text[: found.start()]}{person or topic}'s{text[found.end() :]}"
    elif not (topic and _PLACE.search(text)):
        return None
    if place := _PLACE.search(text):
        where = _WHERE.findall(said)
        text = f"{text[: place.start()]}{where[-1] if where else topic}{text[place.end() :]}"
    return text


def _person(text: str, *, single: bool) -> str | None:
    """Returns the last name of several words, or if `single` the last word with a capital."""
    full = [n for n in _FULL_NAME.findall(text) if n.split()[0].lower() not in _ASKING]
    found = full or (_NAME.findall(text) if single else [])
    return str(found[-1]) if found else None


def _topic(asked: str) -> str:
    """Returns the longest run of words that do not ask: `tide gauge T40 cost`."""
    runs: list[list[str]] = [[]]
    for word in _WORD.findall(asked):
        if word.lower() in _ASKING or (word.lower() in _CONNECTORS and not runs[-1]):
            runs.append([])
        else:
            runs[-1].append(word)
    longest = max(map(len, runs))
    return " ".join(next(run for run in runs if len(run) == longest))
