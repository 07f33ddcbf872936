"""Finds questions that refer to a sentence before them, in several languages."""

from __future__ import annotations

import re
from collections.abc import Mapping

FEW = 3
"""Words before a pronoun, besides the interrogative ones, among which nothing is named."""
FEW_SIGNS = 6
"""The same in Chinese and Japanese characters."""
SHORT = 5
"""Words of a question without an interrogative, such as "And the T40?", that goes on another."""

INTERROGATIVE = re.compile(
    r"(?<!\w)(?:(?:in|at|by|for|from|to|on|with|of|under|since|until|an|auf|aus|bei|durch|gegen|mit|"
    r"nach|seit|bis|über|um|unter|von|vor|zu|für|à|de|dans|en|par|pour|sur|a|con|desde|hasta|por|"
    r"para|según|sobre|em|com|da|di|per|su)\s+)?(?:what|when|where|which|who|whom|whose|why|how|"
    r"is|are|was|were|do|does|did|can|could|may|must|should|shall|will|would|has|have|had|"
    r"wann|wo|wohin|woher|wo(?:für|durch|mit|bei|gegen|nach|von|zu|r(?:an|auf|aus|in|über|um|unter))|"
    r"welche[rsnm]?|wer|wem|wen|wessen|warum|wieso|weshalb|wie|wieviele?|"
    r"quoi|quand|où|quel(?:le)?s?|qui|que|pourquoi|comment|combien|est-ce|"
    r"qué|cuándo|dónde|adónde|cuál(?:es)?|quién(?:es)?|cómo|cuánt[oa]s?|"
    r"che|quando|dove|quale|quali|chi|perché|come|quant[oiae]s?|"
    r"onde|qual|quais|quem|porquê?|tell|explain|describe|list|show|give|name|summari[sz]e|compare|"
    r"find|define|nenne[n]?|zeige?|liste|erkläre?|nomm\w+|cite[sz]?|nombr[ae]|indi[qc]\w+)(?![\w-])|"
    r"什么|什麼|哪|谁|誰|多少|几|幾|怎|如何|为何|为什么|何|是否|是不是|有没有|能不能|吗|嗎|呢|"
    r"多(?:长|久|大|高|远|深|重|快)|どこ|いつ|なぜ|どう|いくつ|いくら|どの|どれ|どんな",
    re.IGNORECASE,
)
_COMMON: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the a an of is are was were do does did has have what which who when where how why"
        " to for and by with there it",
        "de": "der die das den dem des ein eine einen einer eines und ist sind war waren wird wurde"
        " von zu im am mit für was wer wie wo wann warum welche welcher welches welchen kostet es"
        " gibt sie er ich wir auf bei nach",
        "fr": "le la les des du un une et est sont était dans pour qui que quel quelle quels"
        " quelles quand où comment combien au aux par il elle l d ce c",
        "es": "el la los las del un una y es son fue en por para que qué cuál cuáles quién quiénes"
        " cuándo dónde cómo cuánto cuántos cuánta cuántas se su con al",
        "it": "il lo la gli le di del della un una e è sono che chi quando dove come quanto quale"
        " quali per con nel si",
        "pt": "o os as do da dos das um uma e é são foi que quem quando onde como quanto qual quais"
        " em no na para com",
    }.items()
}
"""Words by which a question's language is guessed."""
_TIMES = (
    r"(?! (?:year|month|week|time|Jahr|Monat|Woche|Mal|an|année|mois|semaine|año|mes|semana)\b)"
)
_REFERENCES: Mapping[str, str] = {
    "en": rf"it(?! (?:is )?(?:possible|allowed|necessary|true|important))|this{_TIMES}|"
    r"(?<!has )(?<!have )(?<!had )(?:its|their|his)|these(?! days)|those|they|them|he|she|him|her|"
    r"such|the same|"
    r"(?<!is )(?<!are )(?<!was )(?<!were )there(?! (?:is|are|was|were|an?y?)\b)|"
    r"(?<=\b(?:is|in|of|at|on|do|to) )that|(?<=\b(?:are|did|was|can|for|has) )that|"
    r"(?<=\b(?:does|with|will|from) )that|(?<=\b(?:about|could|would) )that|that(?=\W*$)",
    "de": r"(?-i:er|sie|ihn|ihm|ihr|ihre[nmrs]?)|das(?=\W*$)|"
    r"(?<!gibt )(?<!gab )(?<!geht )(?<!ging )(?<!bedarf )"
    r"es(?! (?:möglich|erlaubt|nötig|notwendig|wahr|gibt|gab|wird|wurde|heißt|sich|zu)\b)|"
    rf"dies\w*{_TIMES}|jene\w*|dort|davon|dafür(?!,? dass)|damit(?!,)|dazu(?!,? dass)",
    "fr": r"(?<!a-t-)(?:ils?|elles?)(?! y)|cela|ça|ceci|(?<!est-)ce(?! qu[ei'’]|-|st)|"
    rf"cet(?:te)?{_TIMES}|ces|leurs?|(?<!il )y(?! a)|en (?:coûte|faut|reste|existe)",
    "es": rf"él|ell[ao]s?|es[ao]s?|es(?:t[eao]|tos|tas|e){_TIMES}|aquell?[ao]?s?|"
    r"lo(?! (?:que|largo))|allí|ahí|sus?",
    "it": r"ess[oaie]|quest[oaie]|quell[oaie]|lui|lei|loro|ciò|su[oa]|lì|là",
    "pt": rf"el[ea]s?|isso|isto|es[ts][ea]s?{_TIMES}|aquel[ea]s?|lá|seus?|suas?|diss[oa]|nel[ea]s?",
}
"""Pronouns that point to what was said before; not those of "is it possible", "gibt es"."""
_POINTS = {
    language: re.compile(rf"(?<![\w'’])(?:{words})(?![\w])", re.IGNORECASE)
    for language, words in _REFERENCES.items()
}
_POINTS_CJK = re.compile(
    r"(?<![其吉排])[它他她]|[这這那](?![里裡]?(?:里|裡))|(?<![应應本])[该該]|(?<![由因如彼])此(?!外)|"
    r"(?<!尤)其(?![他它中实實余餘次])|そ[れの]|こ[れの](?!ように)|あの"
)
_VERB_FIRST = re.compile(
    r"(?:gibt|ist|sind|hat|habe[n]?|kann|können|darf|dürfen|muss|müssen|wird|werden|hay|es|son|"
    r"tiene[n]?|puede[n]?|puedo|se puede|y a-t-il|peut|peut-on|puis-je|c'è|ci sono|si può|há|"
    r"existe[m]?|pode)\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?<=[\w,] )[A-ZÀ-ÖØ-Þ]\w*[a-zß-öø-ÿ0-9]")
"""A name after the first word, in languages that give no capital letter to other nouns."""
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def leans(question: str) -> bool:
    """True if it needs the sentence before: it asks nothing by itself, or a pronoun points there.

    A pronoun after a few words alone points back: "what does it cost", "how many of them".
    """
    if _CJK.search(question):
        pointer = _POINTS_CJK.search(question)
        return (pointer is not None and pointer.start() <= FEW_SIGNS) or (
            not INTERROGATIVE.search(question) and len(question) <= 2 * SHORT
        )
    bare = question.lstrip("¡¿ ")
    asks = INTERROGATIVE.search(bare) or _VERB_FIRST.match(bare)
    if not asks and len(_WORD.findall(bare)) <= SHORT:
        return True
    return any(_points_back(bare, language) for language in _languages(bare))


def is_asking(sentence: str) -> bool:
    """True if a sentence without a question mark asks, by its first word; in Chinese by any."""
    if _CJK.search(sentence):
        return bool(INTERROGATIVE.search(sentence))
    return bool(INTERROGATIVE.match(sentence))


def _points_back(question: str, language: str) -> bool:
    pointer = _POINTS[language].search(question)
    if pointer is None:
        return False
    if language != "de" and _NAMED.search(question, 0, pointer.start()):
        return False
    before = re.findall(r"\w+", question[: pointer.start()])
    return len([word for word in before if not INTERROGATIVE.fullmatch(word)]) <= FEW


def _languages(question: str) -> list[str]:
    """Returns the likeliest languages: those that most of its common words are of."""
    words = [word.lower() for word in _WORD.findall(question)]
    counts = {lang: sum(word in common for word in words) for lang, common in _COMMON.items()}
    most = max(counts.values())
    return [language for language, count in counts.items() if count == most]
