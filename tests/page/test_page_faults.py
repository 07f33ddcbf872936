"""The page in a real browser when something goes wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser import needs_chromium, tab
from tests.model_server import ModelServer, chunk, goes_on, model_server, quotes, sends
from tests.page import documents
from tests.servers import Server, serving, submit
from tests.shallow_minilm import shallow

pytestmark = needs_chromium
QUESTION = "Where are lithium batteries stored?"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server(quotes()) as running:
        yield running


def settings_of(model: ModelServer) -> dict[str, str]:
    return {
        "RAG_GENERATOR__KIND": "openai",
        "RAG_GENERATOR__BASE_URL": model.base_url,
        "RAG_GENERATOR__MODEL": "tiny",
        "RAG_GENERATOR__THRESHOLD": "0",
        "RAG_CITATIONS__CLAIMS": "off",
    }


def fill(server: Server) -> None:
    with server.client() as http:
        submit(http, {"id": "fire", "title": "Fire", "text": documents.FIRE})


def test_a_server_that_dies_and_comes_back_in_mid_stream(
    model: ModelServer, browser: Browser, tmp_path: Path
) -> None:
    data, env = tmp_path / "data", settings_of(model)
    with serving(data, env=env) as server:
        fill(server)
        with tab(browser, server.url) as opened:
            model.script = sends(chunk("Batteries are"), then=goes_on)
            opened.page.get_by_role("textbox", name="Your question").fill(QUESTION)
            opened.page.keyboard.press("Enter")
            turn = opened.page.locator(".turn")
            expect(turn.locator(".answer")).to_contain_text("Batteries are")
            opened.page.get_by_role("textbox", name="Your question").fill("The next question")
            server.kill()
            expect(turn.locator(".fault")).to_contain_text("The answer was cut off.")
            expect(turn).to_contain_text("Batteries are word")
            model.script = quotes()
            with serving(data, env=env, port=server.url.rpartition(":")[2]):
                turn.get_by_role("button", name="Try again").click()
                again = opened.page.locator(".turn").nth(1)
                expect(again.locator(".answer")).to_contain_text("red cabinet")
            draft = opened.page.get_by_role("textbox", name="Your question")
            expect(draft).to_have_value("The next question")


def test_an_answer_is_stopped_by_its_reader(
    model: ModelServer, browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", env=settings_of(model)) as server:
        fill(server)
        model.script = sends(chunk("Batteries are"), then=goes_on)
        with tab(browser, server.url) as opened:
            opened.page.get_by_role("textbox", name="Your question").fill(QUESTION)
            opened.page.keyboard.press("Enter")
            expect(opened.page.locator(".answer")).to_contain_text("Batteries are")
            opened.page.get_by_role("button", name="Stop").click()
            expect(opened.page.get_by_text("You stopped this answer.")).to_be_visible()
        assert model.hung_up.wait(60)


def test_stop_ends_all_answers_that_are_being_written(
    model: ModelServer, browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", env=settings_of(model)) as server:
        fill(server)
        with tab(browser, server.url) as opened:
            opened.page.route(re.compile("/v1/query"), lambda route: route.abort())
            for _ in range(2):
                opened.page.get_by_role("textbox", name="Your question").fill(QUESTION)
                opened.page.keyboard.press("Enter")
                expect(
                    opened.page.locator(".composer").get_by_role("button", name="Ask")
                ).to_be_visible()
            again = opened.page.get_by_role("button", name="Try again")
            expect(again).to_have_count(2)
            opened.page.unroute_all()
            model.script = sends(chunk("Batteries are"), then=goes_on)
            for number in range(2):
                again.nth(number).click()
            expect(opened.page.locator(".answer", has_text="Batteries are")).to_have_count(2)
            opened.page.get_by_role("button", name="Stop").click()
            expect(opened.page.get_by_text("You stopped this answer.")).to_have_count(2)
            expect(opened.page.get_by_role("button", name="Stop")).to_have_count(0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("faults") / "data") as running:
        fill(running)
        yield running


def test_a_pdf_that_cannot_be_drawn_is_shown_as_text(
    server: Server, browser: Browser, tmp_path: Path
) -> None:
    documents.write(tmp_path)

    def damaged(route: Route) -> None:
        route.fulfill(body=b"%PDF-1.7 damaged", content_type="application/pdf")

    with tab(browser, server.url) as opened:
        opened.go("documents")
        inputs = opened.page.get_by_label("Choose files", exact=True).last
        inputs.set_input_files(tmp_path / "fire.pdf")
        expect(opened.page.locator(".batch")).to_contain_text("1 stored")
        opened.page.route(re.compile("as=original"), damaged)
        opened.page.locator("tr", has_text="fire.pdf").get_by_role("button").first.click()
        dialog = opened.page.get_by_role("dialog")
        expect(dialog).to_contain_text("cannot be drawn")
        expect(dialog).to_contain_text("Lithium batteries")
        opened.page.keyboard.press("Escape")
        opened.page.unroute_all()
        opened.page.route(re.compile("as=original"), lambda route: route.abort())
        opened.page.locator("tr", has_text="fire.pdf").get_by_role("button").first.click()
        expect(dialog).to_contain_text("The server does not answer.")
        expect(dialog).to_contain_text("Lithium batteries")


def test_an_answer_of_five_megabytes_leaves_the_tab_alive(server: Server, browser: Browser) -> None:
    # No model writes one within the server's limits: the response stands in for the server's.
    with server.client() as http:
        answer = http.post("/v1/query", json={"query": QUESTION}).json()
    answer["answer"] = "A sentence of an endless answer. " * 160_000
    body = b"event: answer\ndata: " + httpx.Response(200, json=answer).content + b"\n\n"

    def endless(route: Route) -> None:
        route.fulfill(body=body, content_type="text/event-stream")

    with tab(browser, server.url) as opened:
        opened.page.route(re.compile("/v1/query"), endless)
        turn = opened.ask(QUESTION)
        expect(turn.get_by_text("very long")).to_be_visible()
        opened.page.unroute(re.compile("/v1/query"))
        expect(opened.ask(QUESTION).locator(".answer")).to_contain_text("red cabinet")


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.attack)])
def test_thousands_of_documents_are_paged(browser: Browser, tmp_path: Path, count: int) -> None:
    with serving(tmp_path / "data", env=shallow(tmp_path)) as server, server.client() as http:
        for first in range(0, count, 1000):
            listed = [
                {"id": f"n{number:05}", "title": f"Note {number}", "text": f"Note {number}."}
                for number in range(first, first + 1000)
            ]
            assert http.post("/v1/documents", json={"documents": listed}).status_code == 202
        with tab(browser, server.url) as opened:
            opened.go("documents")
            rows = opened.page.locator("tbody tr")
            for page in range(1, count // 100):
                expect(rows).to_have_count(100)
                opened.page.get_by_role("button", name="Next").click()
                expect(rows.first).to_contain_text(f"Note {page * 100}")
            expect(opened.page.get_by_role("button", name="Next")).to_be_disabled()
            expect(rows.last).to_contain_text(f"Note {count - 1}")
            opened.page.get_by_role("button", name="Previous").click()
            expect(rows.first).to_contain_text(f"Note {count - 200}")
        server.kill()  # most of them still wait
