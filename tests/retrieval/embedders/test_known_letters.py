"""The letters of a text that a tokenizer knows."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer

from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.known_letters import is_known
from retrieval.embedders.loading import minilm_folder


@pytest.fixture(scope="module")
def english() -> Tokenizer:
    return Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("How long may a line be?", True),
        ("Wie viele Tage Sonderurlaub gewährt der Tarifvertrag für Umzüge?", True),
        ("¿Cuántos días de vacaciones tienen los empleados?", True),
        ("Nhân viên được nghỉ bao nhiêu ngày mỗi năm?", True),
        ("§ 12 – 3½ %", True),
        ("Сколько дней отпуска у сотрудников?", False),  # noqa: RUF001
        ("Πόσες ημέρες άδειας έχουν οι εργαζόμενοι;", False),  # noqa: RUF001
        ("员工每年有多少天年假？", False),  # noqa: RUF001
        ("พนักงานมีวันลากี่วันต่อปี", False),
        ("Was does Устав say?", True),
        ("휴가는 일 년에 며칠입니까?", False),
        ("有給休暇は何日ありますか。", False),
        ("こんにちは", False),
        ("年假？", False),  # noqa: RUF001
        ("x² + y² = z²?", True),
        ("Å-1234", True),
        ("Żółć", True),
        ("Where is π?", True),
    ],
)
def test_english_tokenizers_know_words_in_latin_letters(
    english: Tokenizer, text: str, known: bool
) -> None:
    assert is_known(english, text) is known


def test_a_character_is_a_word_where_no_spaces_are_put(english: Tokenizer) -> None:
    text = "员工每年有多少天年假"
    vocabulary = {"[UNK]": 0} | {char: n for n, char in enumerate(dict.fromkeys(text), start=1)}
    chinese = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    chinese.pre_tokenizer = BertPreTokenizer()
    spaced = " ".join(text)
    assert is_known(chinese, spaced)
    assert not is_known(english, spaced)


def test_embedders_say_what_they_read() -> None:
    embedder = BertEmbedder(minilm_folder())
    try:
        assert embedder.reads("Größe")
        assert not embedder.reads("Размер")
    finally:
        embedder.close()
