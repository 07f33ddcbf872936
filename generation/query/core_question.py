"""Finds the question inside a message: without greeting, courtesy, context and signature."""

# ruff: noqa: RUF001 - apostrophes and question marks of other scripts
from __future__ import annotations

import re

from generation.query.references import INTERROGATIVE, is_asking, leans
from rag.text.sentences import sentence_spans

MOST = 8_000
"""Characters of a message that are looked through; a longer one is searched for as it is."""

_GREETING = re.compile(
    r"(?:hi+|hello|hey|dear|good (?:morning|afternoon|evening|day)|greetings|guten (?:tag|"
    r"morgen|abend)|"
    r"hallo|moin|servus|grüezi|sehr geehrte[rs]?|liebe[rs]?|bonjour|bonsoir|salut|cher|chère|hola|"
    r"buenos días|buenas tardes|estimad[oa]s?|ciao|buongiorno|salve|gentile|olá|bom dia|hoi|beste|"
    r"goedemorgen|goedendag|cześć|dzień dobry|здравствуйте|привет|добрый день|merhaba|مرحبا|"
    r"你好|您好|こんにちは|สวัสดี|नमस्ते)(?![\w-])",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:(?:many |kind |best |warm )?(?:thanks|regards|wishes)|thank you|thx|cheers|"
    r"sincerely|yours|best,|"
    r"(?:vielen |besten |herzlichen )?dank\b|danke|(?:mit )?(?:freundlichen|besten|vielen|"
    r"herzlichen|"
    r"liebe[nr]?|viele|beste|schöne) grüße?n?|mfg|gruß|merci|cordialement|bien à vous|"
    r"(?:muchas )?gracias|saludos|un saludo|grazie|cordiali saluti|(?:muito )?obrigad[oa]|"
    r"dank je|bedankt|met vriendelijke groet|dziękuję|спасибо|с уважением|teşekkür\w*|شكرا|"
    r"谢谢|ありがとう\w*|ขอบคุณ|धन्यवाद|sent from my|have a (?:nice|great|good)|bye)(?![\w-])",
    re.IGNORECASE,
)
_SMALL_TALK = re.compile(
    r"(?:how are you(?: doing)?(?: today)?|how(?:'|’| i)s it going|what(?:'|’| i)s up|"
    r"wie geht(?:'|’| e)?s(?: \w+){0,2}|"
    r"comment (?:ça va|allez-vous|vas-tu)|ça va|qué tal|cómo está[s]?|come (?:va|stai|"
    r"sta)|tudo bem|"
    r"can (?:you|anyone|somebody) (?:please )?help(?: me)?(?: (?:out|with (?:this|that|"
    r"something)))?|"
    r"(?:can|could|may) i ask (?:you )?(?:something|a question)|(?:are )?you there|"
    r"können sie mir (?:bitte )?helfen|kannst du mir (?:bitte )?helfen|ok(?:ay)?|yes|no|"
    r"test(?:ing)?|"
    r"great|perfect|nice|cool|got it|super|alles klar|verstanden|d'accord)",
    re.IGNORECASE,
)
_ASK_AWAY = (
    r"(?:(?:please|pls|bitte|s'il vous plaît|svp|por favor|per favore)[, ]+)?(?:"
    r"(?:(?:can|could|would|will) (?:you|someone|anyone|anybody|somebody)|would you mind|"
    r"are you able to|is it possible to)(?: please| kindly| maybe| perhaps)*"
    r" (?:tell(?:ing)?|let|explain(?:ing)?|inform|remind|confirm|advise|help)(?: me| us)?"
    r"(?: understand| know| find out| to know)?(?: please)?|"
    r"(?:please )?(?:tell|let|remind|inform)(?: me| us)(?: know)?|"
    r"(?:i|we)(?:'d| would|'m| am| was| were|'ve been| have been)?(?: just| really| only)?"
    r" (?:like|love|want|need|wondering|wonder|curious|trying|have been wondering|hoping)"
    r"(?: to (?:know|ask|find out|understand|learn))?|my question is|the question is|"
    r"(?:do|does|would) (?:you|anyone|anybody|someone|"
    r"somebody)(?: happen to)?(?: here)? know|any idea|"
    r"(?:können|könnten|würden) sie (?:mir|uns)(?: bitte| vielleicht)?(?: sagen| erklären|"
    r" mitteilen)?|"
    r"(?:kannst|könntest) du (?:mir|uns)(?: bitte| vielleicht)?(?: sagen| erklären)?|"
    r"(?:weiß|wissen) (?:jemand|sie|du)|ich (?:wollte|möchte|"
    r"würde gern[e]?)(?: gern[e]?)?(?: wissen| fragen)|"
    r"ich (?:frage|habe mich gefragt)(?: mich)?|"
    r"(?:pourriez|pouvez)-vous (?:me |nous )?(?:dire|expliquer)|(?:je voudrais|j'aimerais) savoir|"
    r"(?:puede|podría|puedes|podrías)(?: usted)? (?:decirme|explicarme)|quisiera saber|"
    r"(?:può|potrebbe|puoi) dirmi|vorrei sapere|(?:pode|poderia) me dizer|gostaria de saber"
    r")[,:]?\s+(?=\w)"
)
_PREFIX = re.compile(
    rf"(?:(?:so|and|but|also|well|ok(?:ay)?|now|und|also|alors|bon|entonces)[, ]+)?{_ASK_AWAY}",
    re.IGNORECASE,
)
_SUFFIX = re.compile(
    r"(?<!they)(?<!you)(?<!we)(?<! I)[,;]?\s+(?:please|pls|bitte|thanks(?: a lot|"
    r" in advance)?|thank you|danke|merci|svp|s'il vous plaît|"
    r"gracias|por favor|grazie)\s*(?=[?？.!]*$)",
    re.IGNORECASE,
)
_MARK = re.compile(r"[?？؟][\"'”»)]*$")
_SIGNATURE = re.compile(r"\n-- ?\n|\n_{5,}\n")


def core_question(message: str) -> str:
    """Returns the question of a message, in its own words; empty if it asks nothing.

    Greetings, courtesy and signatures are left out, and sentences that only give context, unless
    the question refers to them. A message in which no question is recognised is returned whole.
    """
    text = message.strip()
    if len(text) > MOST:
        return text
    text = _SIGNATURE.split(text)[0]
    sentences = [kept for start, end in sentence_spans(text) if (kept := _told(text[start:end]))]
    places = [i for i, sentence in enumerate(sentences) if _MARK.search(sentence)]
    if not places:
        first = next((i for i, sentence in enumerate(sentences) if is_asking(sentence)), 0)
        return " ".join(sentences[first:])
    if places[0] and leans(sentences[places[0]]):
        places.insert(0, places[0] - 1)
    return " ".join(sentences[i] for i in places)


def _told(sentence: str) -> str:
    """Returns a sentence without greeting and courtesy; empty if it was nothing else."""
    sentence = sentence.lstrip("¡¿")
    if greeted := _GREETING.match(sentence):
        sentence = _after_greeting(sentence, greeted.end())
    if _CLOSING.match(sentence) and not _MARK.search(sentence):
        return ""
    bare = sentence.strip(" .!?？！。,;:…-")
    if not bare or _SMALL_TALK.fullmatch(bare):
        return ""
    sentence = _SUFFIX.sub("", sentence)
    asked = _PREFIX.match(sentence)
    if asked and INTERROGATIVE.match(rest := sentence[asked.end() :]):
        return rest
    if asked and (whether := re.match(r"(?:if|whether|ob|si|se)\s+", rest, re.IGNORECASE)):
        return rest[whether.end() :]
    return sentence


def _after_greeting(sentence: str, end: int) -> str:
    """Returns what follows `Hi Anna,`; a greeting without a comma is a few words at most."""
    rest = sentence[end:]
    comma = re.match(r"[^,!:–—]{0,40}[,!:–—]\s*", rest)
    if comma:
        return rest[comma.end() :]
    begins = INTERROGATIVE.search(rest) or re.search(_ASK_AWAY, rest, re.IGNORECASE)
    if begins:
        return rest[begins.start() :]
    return "" if len(rest.split()) <= 4 else rest  # noqa: PLR2004 - "Hi all of you there"
