"""Separated values: RFC 4180 first, a guessed dialect for whole files alone, prose as prose."""

from __future__ import annotations

import pytest

from ingest.readers.csv_rows import outline

PLAIN = "".join(f"M{n},plain note number {n}\n" for n in range(1500))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (f'Model,Note\n{PLAIN}M9,"12"" pipe, bent"\n', 'M9 | 12" pipe, bent'),  # after 16 kB
        (f"Model,Note\n{PLAIN}M9,a;b;c;d|e\tf\n", "M9 | a;b;c;d\\|e f"),
        ('A,B\n"x\ny","1,5"\n', "x y | 1,5"),
        ("Name;Preis\nA;1,50\nB;2,75\n", "B | 2,75"),
        ("A\tB\n1,5\t2,5\n3,5\t4,5\n", "3,5 | 4,5"),
        ("a|b\n1|2\n", "1 | 2"),
        ("sep=;\nA;B\n1;2\n", "1 | 2"),
        ('"a", "b"\n"c, d", "e"\n', "c, d | e"),
        ('a,b\n"say ""hi"", now",2\n', 'say "hi", now | 2'),
        ('a,b\n"say \\"hi\\", now",2\n', 'say "hi", now | 2'),
        ('a,b\n5" pipe,2\n', '5" pipe | 2'),
        ('a,b\n"x" y,2\n1,2\n', "1 | 2"),
        ("Report of 2023\n\nName,Flow,Head\nA,1,2\nB,1,2\nC,1,2\nD,1,2\n", "D | 1 | 2"),
    ],
)
def test_a_table(text: str, last: str) -> None:
    found = outline(text, name="a.csv")
    [table] = found.tables
    assert found.text[table.start : table.end].startswith(f"{table.header}\n")
    assert found.text.rsplit("\n", 1)[1] == last


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Remark\nThe pump, which is old, fails.\nCall Bob, please.\nDone\n", None),
        ("Remark\nThe pump fails; call Bob.\nIt is old.\n", None),
        ("The pump, old as it is, failed.\nBob, who is in, mended it.\n", None),
        ("Hello, world\n", None),
        ('"Remark"\n"The pump, ""old"", fails."\n"Call Bob."\n',
         'Remark\n\nThe pump, "old", fails.\n\nCall Bob.'),
    ],
)  # fmt: skip
def test_one_column_of_prose_is_prose(text: str, read: str | None) -> None:
    found = outline(text, name="a.csv")
    assert found.tables == ()
    assert found.text == (read or text)


def test_tabs_come_first_in_a_tsv() -> None:
    text = "a,b\tc,d\n1,2\t3,4\n"
    assert outline(text, name="a.tsv").text == "a,b | c,d\n1,2 | 3,4"
    assert outline(text, name="a.csv").text == "a | b c | d\n1 | 2 3 | 4"
