# ruff: noqa: RUF001 - question marks of other scripts
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.query.core_question import core_question

CONTEXT = (
    "I joined the company two weeks ago and am still finding my way around the many tools and"
    " rooms. My colleague is on a journey and could not say. We talked about it in the team today."
)


@pytest.mark.parametrize(
    "question",
    [
        "How many days of annual leave do I get?",
        "When the valve is closed, what is the pressure?",
        "Which Spanish officer established the settlement at St. Augustine?",
        "Can I work from abroad, and for how long?",
        "Wie lange werden Bewerbungsunterlagen aufbewahrt?",
        "Combien coûte le T40 ?",
        "WHAT IS THE PRESSURE?",
        "Please list all allergens of the soup.",
    ],
)
@pytest.mark.parametrize(
    "message",
    [
        "{}",
        "Hi team, {}",
        "Hello!\n\n{}\n\nBest regards\nAnna Berg\nSales Manager",
        "Guten Tag Frau Berg, {} Vielen Dank im Voraus!",
        "Bonjour, {} Merci beaucoup.",
        "{} Thanks a lot!",
        "{}\n\n-- \nTom\n+49 30 1234567",
    ],
)
def test_courtesy_and_signatures_are_left_out(question: str, message: str) -> None:
    assert core_question(message.format(question)) == question


@pytest.mark.parametrize("message", [f"{CONTEXT} {{}}", f"Hi all, {CONTEXT} {{}} Thanks, Anna"])
def test_context_is_left_out_where_the_question_stands_alone(message: str) -> None:
    question = "How long are backups kept?"
    assert core_question(message.format(question)) == question


@pytest.mark.parametrize(
    ("message", "question"),
    [
        ("hi, could you please tell me how long backups are kept?", "how long backups are kept?"),
        ("I was wondering when the party is.", "when the party is."),
        ("Können Sie mir bitte sagen, wie lange sie gilt?", "wie lange sie gilt?"),
        ("pourriez-vous me dire combien coûte le T40 ?", "combien coûte le T40 ?"),
        ("你好。病假有几天？", "病假有几天？"),
    ],
)
def test_a_request_to_tell_is_no_part_of_the_question(message: str, question: str) -> None:
    assert core_question(message) == question


CONTEXTS = {
    "de": "Ich bin seit zwei Wochen in der Firma und finde mich noch nicht zurecht. Meine Kollegin"
    " ist auf Dienstreise und konnte es mir nicht sagen. ",
    "es": "Llevo dos semanas en la empresa y no conozco todas las herramientas. Mi compañera está"
    " de viaje y no me lo pudo decir. ",
    "fr": "Je suis dans l'entreprise depuis deux semaines. Ma collègue est en voyage et n'a pas pu"
    " me le dire. ",
    "zh": "我两周前刚入职，对公司的很多工具还不熟悉。我的同事出差了，没法告诉我。",
}
ALONE = {
    "de": (
        "Welche Arten von Urlaub gibt es?", "Gibt es eine Kantine?", "Wofür ist der Zuschuss da?",
        "Über welchen Fluss führt die Brücke?", "Können Sie Rechnungen per Post schicken?",
        "Ist es möglich, im Ausland zu arbeiten?",
    ),
    "es": (
        "En qué año se fundó la empresa?", "Cuál es el horario de la cantina?",
        "Hay aparcamiento?", "Quién es el jefe de los almacenes y de las oficinas?",
        "Cuánto se paga por lo que se pide?",
    ),
    "fr": (
        "Quelles machines y a-t-il dans l'atelier ?", "Qu'est-ce que la maintenance ?",
        "Est-ce que la cantine est ouverte le samedi ?", "Combien de jours y a-t-il ?",
    ),
    "zh": (
        "公司的年假有多少天？", "食堂几点开门", "还有其他的办法吗？", "应该怎么申请报销？",
        "在哪个车间可以找到铣床",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "question"), [(lang, each) for lang, asked in ALONE.items() for each in asked]
)
def test_context_is_left_out_in_other_languages(language: str, question: str) -> None:
    assert core_question(CONTEXTS[language] + question) == question


@pytest.mark.parametrize(
    ("language", "question"),
    [
        ("de", "Was kostet es?"),
        ("de", "Wo steht dieses Gerät?"),
        ("de", "Wofür ist das?"),
        ("de", "Wie lange gilt sie?"),
        ("es", "Cuál es su precio?"),
        ("es", "Qué significa esto?"),
        ("fr", "Combien coûte-t-il ?"),
        ("fr", "Quand est-ce que cela ferme ?"),
        ("zh", "它要多少钱？"),
        ("zh", "那台机器在哪里？"),
        ("zh", "该法令是何时宣布的？"),
    ],
)
def test_a_question_that_points_back_keeps_its_context(language: str, question: str) -> None:
    found = core_question(CONTEXTS[language] + question)
    assert found.endswith(question)
    kept = found.removesuffix(question).strip()
    assert kept
    assert CONTEXTS[language].rstrip().endswith(kept)


@pytest.mark.parametrize(
    "question",
    [
        "Which kinds of leave are there?",
        "Is it possible to work from abroad?",
        "Which university has its origins in a school of medicine?",
        "When did Luther broaden his attacks?",
        "What is the longest time that a certificate is good for?",
    ],
)
def test_pronouns_of_the_question_itself_point_nowhere_else(question: str) -> None:
    assert core_question(f"{CONTEXT} {question}") == question


def test_a_question_keeps_the_sentence_that_it_refers_to() -> None:
    message = "We have a lot of snow. I bought the gauge T40. What does it cost?"
    assert core_question(message) == "I bought the gauge T40. What does it cost?"


@pytest.mark.parametrize(
    "message",
    ["Hello", "hi there!", "Thanks!", "Guten Tag", "Merci beaucoup.", "How are you?", "ok", "你好",
     "Hi Bob, thanks for your help yesterday.", "Good morning everyone", "¡Gracias!", " ... "],
)  # fmt: skip
def test_a_greeting_asks_nothing(message: str) -> None:
    assert core_question(message) == ""


@given(st.text(max_size=300))
def test_any_message_is_read(message: str) -> None:
    assert len(core_question(message)) <= 2 * len(message) + 1


def test_words_alone_are_a_question() -> None:
    assert core_question("Hi, James Watt engine") == "James Watt engine"


def test_a_message_that_is_a_text_is_searched_for_as_it_is() -> None:
    text = "word " * 50_000
    assert core_question(text) == text.strip()
