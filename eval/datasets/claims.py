"""Makes claims that a passage supports, and similar claims that it does not support.

They are made from a question answering collection: a claim is a question in which an answer
replaces the question word, so that it says what the passage says in other words and another order.
The reason why a claim is unsupported is known, so nobody has to judge it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from random import Random
from typing import Literal

from eval.datasets.corpus import Corpus, Passage, Question
from rag.text.sentences import sentence_spans

Kind = Literal[
    "supported",
    "paragraph of another article",
    "other paragraph of its article",
    "answer of another sentence",
    "answer of the same sentence",
    "number changed",
    "negation added",
    "negation left out",
    "question without an answer",
]
"""The change that makes a claim unsupported.

Either the claim is compared with another paragraph than the one its question was asked about, one
without the answer. Or the claim was changed: it has another answer of the same shape from the
paragraph, another number, or one negation more or less. The last kind is made of a question that
its paragraph does not answer.
"""
PARAGRAPH: tuple[Kind, ...] = ("paragraph of another article", "other paragraph of its article")
SWAPPED: tuple[Kind, ...] = ("answer of another sentence", "answer of the same sentence")
HARD: tuple[Kind, ...] = (*SWAPPED, "number changed", "negation added", "negation left out")
"""Kinds compared with the claim's own paragraph, which has nearly all of its words."""

Shape = Literal["date", "number", "name", "phrase"]

SHORT = 3
"""Letters, at most, of a word that may be an article or a preposition."""
LONGEST_ANSWER = 8
"""Words of an answer, at most: a longer one is a whole sentence and cannot be part of one."""

_WORD = re.compile(r"\w+")
VERB = "is|are|was|were|has|have|had|can|could|will|would|shall|should|may|might|must"
_AUXILIARY = f"{VERB}|do|does|did"
_PHRASE = rf"(?: (?!(?:{_AUXILIARY})\b)[\w'’-]+)"
_ASKED = re.compile(
    rf"\b(?:how (?:many|much)|how \w+(?= (?:{_AUXILIARY})\b)"
    rf"|(?:what|which|whose){_PHRASE}{{0,4}}(?= (?:{_AUXILIARY})\b)|which \w+"
    r"|what|who|whom|whose|when|where|why|how)\b",
    re.IGNORECASE,
)
"""The part that the answer replaces: a question word, with the noun that belongs to it."""
_DID = re.compile(
    rf"(\S+ )?({_ASKED.pattern})({_PHRASE}{{0,6}}) (?:do|does|did) (.*)", re.IGNORECASE
)
"""A question with "do": a preposition, the part asked for, the words after it, the rest."""
_NEGATABLE = re.compile(rf"\b(?:{VERB})\b")
NEGATION = re.compile(r" ?\b(?:not|never|no longer)\b|n't\b")

SPELLED_NUMBERS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "twenty", "thirty", "forty", "fifty"),
)
DIGITS = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\d])")
SPELLED = re.compile(rf"\b(?:{'|'.join(SPELLED_NUMBERS)})\b", re.IGNORECASE)
_DATE = re.compile(
    r"\b(?:1\d{3}|20\d\d|January|February|March|April|May|June|July|August|September|October"
    r"|November|December|centur(?:y|ies))\b"
)
_BETWEEN = re.compile(r"[\s,;/]*(?:(?:and|or|as well as)\s+)?(?:the\s+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence, and the passage it is compared with.

    Attributes:
        text: the claim.
        kind: "supported", or the change made to it.
        passage: the id of the passage that has to support it.
        question: the id of the question it was made from.
        article: the article that the question was asked about.
    """

    text: str
    kind: Kind
    passage: str
    question: str
    article: str


def make_claims(corpus: Corpus) -> list[Claim]:
    """Returns all claims of a collection, the same ones every time.

    A question yields one claim of each kind that can be made from it. Questions without a question
    word, with a long answer, or whose claim is a sentence of the passage are left out.
    """
    return [claim for context in _contexts(corpus) for claim in _claims(context)]


def unanswered_claims(corpus: Corpus) -> list[Claim]:
    """Returns claims made of the questions that their paragraph does not answer, in their order.

    The answer is that to the first other question about the paragraph that begins to ask with the
    same word, if the question has none of the answer's words. Questions without one are left out.
    """
    passages = {p.id: p for p in corpus.passages}
    about: Mapping[str, list[Question]] = defaultdict(list)
    for question in corpus.questions:
        for id_ in corpus.qrels.get(question.id, ()):
            about[id_].append(question)
    claims = []
    for question in corpus.questions:
        passage = passages.get(question.meta.get("source_doc", ""))
        if question.answers or passage is None:
            continue
        answers = (_shortest(q) for q in about[passage.id] if _asks_as(question, q))
        asked = set(_WORD.findall(question.text.lower()))
        own = (a for a in answers if asked.isdisjoint(map(str.lower, _content_words(a))))
        if text := claim_text(question.text, next(own, "")):
            claims.append(
                Claim(
                    text=text,
                    kind="question without an answer",
                    passage=passage.id,
                    question=question.id,
                    article=passage.title,
                )
            )
    return claims


def _asks_as(question: Question, other: Question) -> bool:
    """True if two questions have the same question word first."""
    found = [_ASKED.search(each.text) for each in (question, other)]
    words = [match[0].lower().split()[0] if match else None for match in found]
    return words[0] == words[1] is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """A question about a passage.

    `others` are the gold answers to other questions about it; `same_article` and `other_article`
    are the ids of the passages that its claim may be compared with instead.
    """

    question: Question
    passage: Passage
    others: Sequence[str]
    same_article: Sequence[str]
    other_article: Sequence[str]


def _contexts(corpus: Corpus) -> Iterator[_Context]:
    passages = {p.id: p for p in corpus.passages}
    lowered = {p.id: p.text.lower() for p in corpus.passages}
    about: Mapping[str, list[Question]] = defaultdict(list)
    for question in corpus.questions:
        for id_ in corpus.qrels.get(question.id, ()):
            about[id_].append(question)
    for id_, questions in about.items():
        title = passages[id_].title
        for question in questions:
            answers = [answer.lower() for answer in question.answers]
            without = [i for i, text in lowered.items() if not any(a in text for a in answers)]
            yield _Context(
                question=question,
                passage=passages[id_],
                others=[a for q in questions if q is not question for a in q.answers],
                same_article=[i for i in without if passages[i].title == title],
                other_article=[i for i in without if passages[i].title != title],
            )


def _claims(context: _Context) -> Iterator[Claim]:
    question, passage = context.question, context.passage
    text = claim_text(question.text, _shortest(question))
    if text is None or _folded(text) in _folded(passage.text):
        return
    random = Random(question.id)  # noqa: S311 - it guards no secret

    def claim(kind: Kind, text: str, against: str = passage.id) -> Claim:
        return Claim(
            text=text, kind=kind, passage=against, question=question.id, article=passage.title
        )

    yield claim("supported", text)
    if context.other_article:
        yield claim("paragraph of another article", text, random.choice(context.other_article))
    if context.same_article:
        yield claim("other paragraph of its article", text, random.choice(context.same_article))
    if others := other_answers(question, passage.text, context.others):
        other = random.choice(others)
        kind = SWAPPED[_in_one_sentence(passage.text, _shortest(question), other)]
        yield claim(kind, claim_text(question.text, other) or "")
    if changed := change_number(text, passage.text, random):
        yield claim("number changed", changed)
    if negated := negate(text, random):
        yield claim("negation left out" if NEGATION.search(text) else "negation added", negated)


def _shortest(question: Question) -> str:
    return min(question.answers, key=len)


def _in_one_sentence(text: str, *parts: str) -> bool:
    return any(all(s in text[a:b] for s in parts) for a, b in sentence_spans(text))


def claim_text(question: str, answer: str) -> str | None:
    """Returns the question with the answer in its place; None if it has no question word.

    "In what year did the war end?" and "1763" make "The war end in 1763.", "Where is Paris?" and
    "France" make "France is Paris." This is not good English, but it keeps the meaning.
    """
    text = " ".join(question.split()).rstrip("? ")
    question_words = _ASKED.search(text)
    if question_words is None or not answer or len(_WORD.findall(answer)) > LONGEST_ANSWER:
        return None
    if did := _DID.fullmatch(text):
        before, after = f"{did[4]} {(did[1] or '').lower()}", did[3]
    else:
        before, after = text[: question_words.start()], text[question_words.end() :]
    claim = f"{_without_repeat(before, answer)}{answer}{after}"
    return f"{claim[0].upper()}{claim[1:]}."


def _without_repeat(before: str, answer: str) -> str:
    """Returns the words before the answer, without a preposition that the answer begins with."""
    words = before.split()
    if words and _WORD.findall(answer.lower())[:1] == [words[-1].lower()]:
        words.pop()
    return "".join(f"{word} " for word in words)


def other_answers(question: Question, text: str, others: Sequence[str]) -> list[str]:
    """Returns wrong answers of the same shape, from other questions about the text.

    Answers that share a word with the right answers or the question are left out. So are answers
    that the text lists together with a right answer, because they may be right as well.
    """
    shape = shape_of(_shortest(question))
    known = set(_WORD.findall(" ".join([question.text, *question.answers]).lower()))
    return [
        other
        for other in dict.fromkeys(others)
        if shape_of(other) == shape
        and len(_WORD.findall(other)) <= LONGEST_ANSWER
        and known.isdisjoint(word.lower() for word in _content_words(other))
        and not any(_listed(text, other, answer) for answer in question.answers)
    ]


def _listed(text: str, *answers: str) -> bool:
    """True if there is only "and", a comma or the like between two answers in the text."""
    spans = [[m.span() for m in re.finditer(re.escape(answer), text)] for answer in answers]
    return any(
        first[1] <= second[0] and _BETWEEN.fullmatch(text, first[1], second[0])
        for pair in product(*spans)
        for first, second in permutations(pair)
    )


def shape_of(answer: str) -> Shape:
    """Returns the kind of an answer, judged by its form."""
    if _DATE.search(answer):
        return "date"
    if DIGITS.search(answer) or SPELLED.search(answer):
        return "number"
    words = _content_words(answer)
    return "name" if sum(word[0].isupper() for word in words) * 2 >= len(words) else "phrase"


def _content_words(answer: str) -> list[str]:
    """Returns the words without short ones (articles, prepositions), or all if only those exist."""
    words = _WORD.findall(answer)
    return [word for word in words if len(word) > SHORT or word.isdigit()] or words


def change_number(claim: str, text: str, random: Random) -> str | None:
    """Returns the claim with one number changed to one not in the text; None without numbers.

    The second half of the digits is replaced by as many random ones; a number in words is replaced
    by another word.
    """
    found = [*DIGITS.finditer(claim), *SPELLED.finditer(claim)]
    if not found:
        return None
    chosen = random.choice(found)
    if chosen[0][0].isdigit():
        options = [other_digits(chosen[0], random) for _ in range(20)]
    else:
        options = random.sample(SPELLED_NUMBERS, len(SPELLED_NUMBERS))
    for option in options:
        if option not in text.lower() and option != chosen[0].lower():
            return claim[: chosen.start()] + option + claim[chosen.end() :]
    return None


def other_digits(number: str, random: Random) -> str:
    """Returns a number with as many digits, the second half of them random."""
    digits = [i for i, c in enumerate(number) if c.isdigit()]
    others = {i: str(random.randrange(10)) for i in digits[len(digits) // 2 :]}
    return "".join(others.get(i, c) for i, c in enumerate(number))


def negate(claim: str, random: Random) -> str | None:
    """Returns the claim with its negation removed or one added; None if neither is possible."""
    if NEGATION.search(claim):
        return NEGATION.sub("", claim, count=1)
    verb = _NEGATABLE.search(claim)
    if verb is None:
        return None
    return f"{claim[: verb.end()]} {random.choice(('not', 'never'))}{claim[verb.end() :]}"


def _folded(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
