"""Messages to callers and operators contain no secret of a URL and no value of a row."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from generation.models.openai import OpenAIModel
from rag.catalog.database import Database, PostgresDatabase
from rag.cli import connection
from rag.cli.main import main
from rag.client import NEVER
from rag.errors import RagError, UpstreamError
from rag.privacy.redaction import MAX_CHARS, masked, scrubbed, words
from rag.settings.storage import CeleryQueueSettings
from rag.settings.tree import load_settings, printable
from rag.telemetry import logs
from rag.types import Message, Query, Sampling, Scope
from retrieval.rerankers.http import HttpReranker
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.servers import Json, Server, rag, serving, wait_for
from workers.celery_app import celery_app, connected

SECRET = "hunt/er:2@!"
"""A secret with characters that a URL must encode."""
CODED = quote(SECRET, safe="")
FORMS = [
    f"{{scheme}}://user:{CODED}@{{place}}",
    f"{{scheme}}://:{CODED}@{{place}}",
    f"{{scheme}}://{CODED}@{{place}}",
    f"{{scheme}}://{{place}}?password={CODED}",
    f"{{scheme}}://{{place}}?user=someone&password={CODED}&timeout=1",
    f"{{scheme}}://{{place}}#{CODED}",
    f"{{scheme}}://user:{CODED}@{{place}}?sslpassword={CODED}#{CODED}",
]
ILL_FORMED = [
    "{scheme}://user:hunt/er:2@!@{place}",
    "{scheme}://user:hunt?er:2@!@{place}",
    "{scheme}://user:hunt#er:2@!@{place}",
    "{scheme}://user:hunter2@!:word@{place}",
    "{scheme}://{place}:hunter2",
    "user:hunter2@{place}",
]
PLACES = {
    "catalog.url": ("postgresql", "db.internal:5432/app"),
    "queue.broker_url": ("redis", "db.internal:6379/0"),
    "index.url": ("http", "db.internal:6333"),
    "reranker.url": ("https", "db.internal/v1/rerank"),
    "generator.base_url": ("http", "db.internal:8000/v1"),
    "traces.langfuse_url": ("https", "db.internal"),
    "traces.otlp_url": ("https", "db.internal/v1/traces"),
    "online.judge.base_url": ("http", "db.internal:8000/v1"),
}
KINDS = {
    "catalog": {"kind": "postgres"},
    "queue": {"kind": "celery"},
    "index": {"kind": "qdrant"},
    "reranker": {"kind": "http"},
    "generator": {"kind": "openai", "model": "m"},
    "traces": {},
    "online": {"judge": {"kind": "openai", "model": "m"}},
}


def check_hidden(text: str) -> None:
    """Checks that the text contains no form and no part of the secret."""
    assert SECRET not in text
    for piece in (CODED, CODED.lower(), "hunt", "er%3A2", "er:2"):
        assert piece not in text, text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["h", "h:80", "h/p", "h:80/p/q", "[::1]:80/p", "a:1,b:2/p"])
def test_a_masked_url_shows_where_and_nothing_else(form: str, place: str) -> None:
    told = masked(form.format(scheme="http", place=place))
    check_hidden(told)
    assert place in told
    assert masked(f"http://{place}") == f"http://{place}"


@pytest.mark.parametrize("form", ILL_FORMED)
def test_of_a_url_that_can_be_read_two_ways_only_the_scheme_is_shown(form: str) -> None:
    told = masked(form.format(scheme="redis", place="h"))
    assert told in ("redis://***", "***", "redis://***@h")
    check_hidden(told)


def test_the_host_of_a_query_is_shown() -> None:
    url = f"postgresql:///app?host=/run/pg&port=5433&user=u&password={CODED}"
    assert masked(url) == "postgresql:///app?host=/run/pg&port=5433&***"


@pytest.mark.parametrize("form", FORMS)
def test_a_message_of_others_is_scrubbed(form: str) -> None:
    url = form.format(scheme="redis", place="h:1/0")
    for said in (SECRET, CODED, url, f"redis:// {SECRET}"):
        check_hidden(scrubbed(f"refused ({said}), at h:1", url))
    assert scrubbed(f"no way to {url}, at h:1", url).endswith("at h:1")
    check_hidden(scrubbed(f"no way to {url}, at h:1"))


def test_an_error_of_others_is_told_in_words() -> None:
    assert words(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"
    wrapped = httpx.ConnectError("[Errno -2] Name or\n service not known")
    assert words(wrapped) == "Name or service not known"
    assert words(OSError("Multiple: [Errno 1] a, [Errno 2] b")) == "Multiple: a, b"
    assert words(TimeoutError()) == "TimeoutError"
    url = f"http://h:1/?password={CODED}"
    check_hidden(words(OSError("x" * (MAX_CHARS - 30) + f" no way to {url}"), url))
    assert len(words(OSError("x" * 1000))) == MAX_CHARS


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PLACES)
def test_the_settings_are_shown_without_secrets(name: str, form: str) -> None:
    part, *inner, leaf = name.split(".")
    values: Json = json.loads(json.dumps(KINDS[part]))
    scheme, place = PLACES[name]
    (values[inner[0]] if inner else values)[leaf] = form.format(scheme=scheme, place=place)
    told = json.dumps(printable(load_settings(**{part: values})))
    check_hidden(told)
    assert "db.internal" in told


@pytest.mark.parametrize("form", FORMS)
def test_each_of_several_addresses_is_shown_without_secrets(form: str) -> None:
    urls = [form.format(scheme="http", place=f"node-{n}:6333") for n in range(2)]
    for given in (urls, ",".join(urls)):
        told = json.dumps(printable(load_settings(index={"kind": "qdrant", "url": given})))
        check_hidden(told)
        assert all(f"node-{n}:6333" in told for n in range(2))


@pytest.mark.parametrize("form", FORMS)
def test_each_replica_is_shown_without_secrets(form: str) -> None:
    urls = [form.format(scheme="http", place=f"gpu-{n}:8000/v1") for n in range(2)]
    generator = {"kind": "openai", "model": "m", "replicas": urls}
    told = json.dumps(printable(load_settings(generator=generator, fallbacks=[generator])))
    check_hidden(told)
    assert all(f"gpu-{n}:8000/v1" in told for n in range(2))


@pytest.mark.parametrize("form", [*FORMS, *ILL_FORMED])
def test_a_replica_that_does_not_fit_is_told_without_it(form: str) -> None:
    urls = ["http://gpu-1/v1", form.format(scheme="xhttp", place="h")]
    for replicas in (urls, urls[1]):
        with pytest.raises(RagError, match=r"generator\.replicas") as caught:
            load_settings(generator={"kind": "openai", "model": "m", "replicas": replicas})
        check_hidden(caught.value.in_full())


@pytest.mark.parametrize("form", [*FORMS, *ILL_FORMED])
@pytest.mark.parametrize("name", PLACES)
def test_a_setting_that_does_not_fit_is_told_without_it(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, *_ = name.split(".")
    monkeypatch.setenv(f"RAG_{part.upper()}", json.dumps(KINDS[part]))
    value = form.format(scheme="xhttp", place="h")
    monkeypatch.setenv(f"RAG_{name.replace('.', '__').upper()}", value)
    with pytest.raises(RagError) as caught:
        load_settings()
    assert name in str(caught.value)
    check_hidden(caught.value.in_full())


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_logs_is_scrubbed(
    form: logs.Format, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.handlers, root.level
    url = f"redis://user:{CODED}@h:6379/0?password={CODED}"
    try:
        logs.configure(form)
        bug = RuntimeError(f"cannot connect to {url}")
        logging.getLogger("library").error("Trying %s again", url, exc_info=bug)
    finally:
        root.handlers, root.level = before
    said = capsys.readouterr().err
    check_hidden(said)
    assert "h:6379" in said


VALUE = "Jane Doe, 42"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1, :value)",  # its key is there already: DETAIL
        "SELECT CAST(:value AS integer) AS n",
        "INSERT INTO t VALUES (:value, '')",
        "INSERT INTO t VALUES (2, repeat(:value, 10000))",
    ],
)
async def test_no_value_of_a_row_is_in_a_message_or_a_trace(
    postgres: PostgresServer, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = PostgresDatabase(postgres.new_database())
    async with database.write() as db:
        await db.execute(sa.text("CREATE TABLE t (n integer, s text UNIQUE)"))
        await db.execute(sa.text("CREATE UNIQUE INDEX ON t (s, n)"))
        await db.execute(sa.text("INSERT INTO t VALUES (1, :value)"), {"value": VALUE})
        await db.execute(sa.text("ALTER TABLE t ADD CHECK (length(s) < 100)"))

    async def write() -> None:
        async with database.write() as db:
            await db.execute(sa.text(statement), {"value": VALUE})

    with pytest.raises(RagError) as caught:
        await write()
    logging.getLogger("test").error("It failed: %s", caught.value.in_full(), exc_info=caught.value)
    assert "Error" in caught.value.detail
    assert "Jane" not in caplog.text
    await database.close()


@pytest.mark.anyio
async def test_no_value_that_cannot_be_bound_is_in_a_message(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    class Person:
        def __repr__(self) -> str:
            return VALUE

    with pytest.raises(RagError) as caught:
        await database.rows(sa.text("SELECT :value AS v"), {"value": Person()})
    logging.getLogger("test").error("It failed: %s", caught.value.in_full(), exc_info=caught.value)
    assert "Jane" not in caplog.text


async def ask_reranker(url: str) -> None:
    reranker = HttpReranker(url, dialect="tei", model="", api_key=None, seconds=5)
    try:
        await reranker.score(Query(text="q", scope=Scope(tenant="t", collection="c")), [])
    finally:
        await reranker.close()


async def ask_model(url: str) -> None:
    model = OpenAIModel(base_url=url, api_key=None, model="m", context_tokens=999, seconds=5)
    try:
        async for _ in model.stream(
            [Message(role="user", content="q")], sampling=Sampling(max_tokens=5)
        ):
            pass
    finally:
        await model.close()


async def ask_broker(url: str) -> None:
    settings = CeleryQueueSettings(kind="celery", broker_url=SecretStr(url))
    with connected(celery_app(settings)) as connection:
        connection.connect()  # type: ignore[no-untyped-call]


async def ask_database(url: str) -> None:
    await PostgresDatabase(url).rows(sa.text("SELECT 1"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "scheme", "ask"),
    [
        (FORMS[0], "http", ask_reranker),
        (FORMS[3], "http", ask_reranker),
        (FORMS[0], "http", ask_model),
        (FORMS[3], "http", ask_model),
        (FORMS[0], "redis", ask_broker),
        (FORMS[1], "redis", ask_broker),
        (FORMS[0], "postgresql", ask_database),
        (FORMS[3], "postgresql", ask_database),
    ],
)
async def test_a_server_that_is_away_is_named_to_operators_alone(
    form: str, scheme: str, ask: Callable[[str], Awaitable[None]]
) -> None:
    place = f"127.0.0.1:{free_port()}"
    with pytest.raises(UpstreamError) as caught:
        await ask(form.format(scheme=scheme, place=f"{place}/0"))
    assert place not in str(caught.value)
    assert place in caught.value.detail
    check_hidden(caught.value.in_full())


def bodies(server: Server, *asked: tuple[str, str, Json | None]) -> list[httpx.Response]:
    with server.client() as http:
        return [http.request(method, path, json=body) for method, path, body in asked]


def test_a_caller_is_not_told_where_the_servers_are(tmp_path: Path) -> None:
    """All servers of a service are down: HTTP, its stream, documents, jobs, CLI and log."""
    port = free_port()
    away = f"user:{CODED}@127.0.0.1:{port}"
    env = {
        "RAG_INDEX__KIND": "qdrant",
        "RAG_INDEX__URL": f"http://{away}?api-key={CODED}",
        "RAG_INDEX__PREFER_GRPC": "false",
        "RAG_LOG__FORMAT": "json",
    }
    data = tmp_path / "data"
    with serving(data, env=env) as server:
        document = {"id": "a", "text": "Watt patented the condenser."}
        bad = {"uri": f"https://user:{CODED}@127.0.0.1/doc"}
        told = bodies(
            server,
            ("POST", "/v1/documents", {"documents": [document]}),
            ("POST", "/v1/documents", {"documents": [bad]}),
        )
        job = told[0].json()["job_id"]

        def failed() -> list[httpx.Response] | None:
            found = bodies(
                server, ("GET", f"/v1/jobs/{job}", None), ("GET", "/v1/documents/a", None)
            )
            return found if found[1].json()["error"] else None

        told += wait_for(failed)
        told += bodies(
            server,
            ("POST", "/v1/search", {"query": "Watt"}),
            ("POST", "/v1/query", {"query": "Watt", "stream": True}),
        )
        shown_ = rag("status", "a", "--url", server.url, data=tmp_path / "other")
    for text in (*(response.text for response in told), shown_.stdout, shown_.stderr):
        check_hidden(text)
        assert str(port) not in text
        assert "user" not in text.replace("user name", "")
    said = server.log.read_text()
    check_hidden(said)
    assert f"127.0.0.1:{port}" in said
    searched = told[4].headers["X-Request-ID"]
    assert sum(f"Request {searched} failed" in line for line in said.splitlines()) == 1
    status = rag("config", data=data, env=env)
    check_hidden(status.stdout)
    assert f"http://***@127.0.0.1:{port}?***" in status.stdout


def test_a_database_that_is_away_is_named_to_operators_alone(
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = httpx.URL(postgres.new_database().replace("postgresql:", "http:"))
    socket = url.params["host"]
    name = url.path.strip("/")
    secret = f"user=postgres&password={CODED}&host={quote(socket, safe='')}"
    env = {
        "RAG_CATALOG__KIND": "postgres",
        "RAG_CATALOG__URL": f"postgresql:///{name}?{secret}",
        "RAG_LOG__FORMAT": "json",
    }
    data = tmp_path / "data"
    with serving(data, env=env) as server:
        postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.disconnect(name)
        [told] = bodies(server, ("GET", "/v1/collections", None))
        with monkeypatch.context() as patch:
            patch.setattr(connection, "_RETRIES", NEVER)  # else it waits a minute
            patch.setattr("rag.process.private_folder.limit_umask", lambda *, shared: None)
            patch.setenv("RAG_DATA_DIR", str(data))
            assert main(["status", "--url", server.url]) == 1
        status = capsys.readouterr()
        local = rag("status", data=tmp_path / "other", env=env)
        postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        [again] = bodies(server, ("GET", "/v1/collections", None))
    assert again.status_code == 200
    assert (told.status_code, told.json()["code"]) == (503, "upstream")
    for text in (told.text, *status):
        check_hidden(text)
        for word in (name, socket, "postgres:", "user"):
            assert word not in text
    for text in (server.log.read_text(), local.stderr):
        check_hidden(text)
        assert name in text
    assert told.json()["request_id"] in server.log.read_text()
