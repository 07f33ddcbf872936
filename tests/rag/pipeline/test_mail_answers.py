"""Questions about mail: the newest word of a thread, and rows of attached tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import EmailMessage

import httpx
import pytest

from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here
from tests.places import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]
CASES = ROOT / "tests" / "data" / "cases" / "11"


def mail(subject: str, sender: str, day: int, body: str, *, html: bool = False) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, "team@example.org"
    message["Date"] = f"{day} Apr 2024 10:00:00 +0200"
    message.set_content(body, subtype="html" if html else "plain")
    return bytes(message)


THREADS = {
    "audit-1.eml": mail(
        "Audit", "Eva <eva@example.org>", 2, "Hello,\n\nthe audit begins on 6 May in room 12.\n"
    ),
    "audit-2.eml": mail(
        "Re: Audit",
        "Finn <finn@example.org>",
        3,
        "The audit begins on 13 May in room 12.\n\n"
        "On Tue, 2 Apr 2024 at 10:00, Eva <eva@example.org> wrote:\n\n"
        "> Hello,\n>\n> the audit begins on 6 May in room 12.\n",
    ),
    "lager-1.eml": mail(
        "Lager", "Jana <jana@example.org>", 4, "Der Schlüssel zum Lager liegt bei Herrn Otte.\n"
    ),
    "lager-2.eml": mail(
        "AW: Lager",
        "Kurt <kurt@example.org>",
        5,
        "Der Schlüssel zum Lager liegt jetzt bei Frau Brandt.\n\nViele Grüße\nKurt\n\n"
        "-----Ursprüngliche Nachricht-----\nVon: Jana\nGesendet: Donnerstag\nAn: Team\n"
        "Betreff: Lager\n\nDer Schlüssel zum Lager liegt bei Herrn Otte.\n",
    ),
    "fee-2.eml": mail(
        "Re: Mooring fee",
        "Lars <lars@example.org>",
        6,
        "<p>The mooring fee for the quay is 45 euros a night.</p>"
        "<p>On Mon, 1 Apr 2024 at 09:00, Mia &lt;mia@example.org&gt; wrote:</p>"
        "<blockquote><p>The mooring fee for the quay is 38 euros a night. The harbour master"
        " is Ole Brun.</p></blockquote>",
        html=True,
    ),
}


@pytest.fixture(scope="module")
async def http(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[httpx.AsyncClient]:
    files = {file.name: file.read_bytes() for file in CASES.glob("*.eml")} | THREADS
    async with serving_here(tmp_path_factory.mktemp("mail") / "data", embedder) as (client, _):
        sent = await client.post("/v1/documents", files=[("files", each) for each in files.items()])
        job = await ingested(client, sent)
        # With a table, and a picture that is read or skipped.
        assert (job["state"], job["counts"]["succeeded"]) == ("succeeded", len(files) + 2)
        yield client


async def ask(http: httpx.AsyncClient, question: str) -> Json:
    answer: Json = (await http.post("/v1/query", json={"query": question})).json()
    return answer


@pytest.mark.parametrize(
    ("question", "right", "superseded"),
    [
        ("At which speed does the pump in hall 4 run?", "960 rpm", "1450"),
        ("When does the audit in room 12 begin?", "13 May", "6 May"),
        ("Bei wem liegt der Schlüssel zum Lager?", "Brandt", "Otte"),
        ("What is the mooring fee for the quay?", "45 euros", "38"),
    ],
)
async def test_the_newest_word_of_a_thread_answers_alone(
    http: httpx.AsyncClient, question: str, right: str, superseded: str
) -> None:
    answer = await ask(http, question)
    assert right in answer["answer"]
    assert superseded not in answer["answer"]
    found = " ".join(hit["text"] for hit in answer["hits"])
    assert superseded in found  # it can be searched for


async def test_what_only_a_quotation_says_is_an_answer(http: httpx.AsyncClient) -> None:
    assert "Ole Brun" in (await ask(http, "Who is the harbour master?"))["answer"]


async def test_rows_of_an_attached_table_answer_as_those_of_a_file(http: httpx.AsyncClient) -> None:
    for number in range(0, 60, 3):
        answer = await ask(http, f"What is the speed of pump P{number:02} in rpm?")
        assert str(900 + 7 * number) in answer["answer"], number
