"""The page in a real browser, of a service that asks for keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Tab, needs_chromium, tab
from tests.charging import key
from tests.servers import Server, rag, serving, submit, wait_for

pytestmark = needs_chromium
FACT = "The ferry to Alderholm leaves the north quay at noon."
QUESTION = "When does the ferry to Alderholm leave?"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("callers") / "data"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    with serving(data, env={"RAG_GATEWAY__ENABLED": "true"}) as running:
        _, secret = key(data, "filler", "--scopes", "ask,read,write")
        with running.client() as http:
            http.headers["Authorization"] = f"Bearer {secret}"
            submit(http, {"id": "ferry", "title": "Ferry", "text": FACT})
        yield running


def sign_in(opened: Tab, secret: str) -> None:
    opened.page.get_by_label("API key").fill(secret)
    opened.page.get_by_role("button", name="Sign in").click()


def test_a_wrong_key_is_refused_and_a_right_one_enters(
    server: Server, data: Path, browser: Browser
) -> None:
    _, secret = key(data, "reader", "--scopes", "ask,read")
    with tab(browser, server.url) as opened:
        sign_in(opened, "pl_0123456789ab_" + "0" * 64)
        expect(opened.page.get_by_role("alert")).to_be_visible()
        assert opened.violations() == []
        sign_in(opened, secret)
        expect(opened.ask(QUESTION).locator(".answer")).to_contain_text("noon")
        assert secret not in opened.page.url
        stored = opened.page.evaluate("JSON.stringify({...localStorage}) + document.cookie")
        assert secret not in stored
        opened.reload()
        expect(opened.page.get_by_role("button", name=QUESTION, exact=True)).to_be_visible()
        opened.page.get_by_role("button", name="Sign out").click()
        expect(opened.page.get_by_label("API key")).to_be_visible()
        expect(opened.page.locator(".past li")).to_have_count(0)


def test_a_reader_sees_no_more_than_the_key_allows(
    server: Server, data: Path, browser: Browser
) -> None:
    _, secret = key(data, "asker", "--scopes", "ask")
    with tab(browser, server.url) as opened:
        sign_in(opened, secret)
        expect(opened.ask(QUESTION).locator(".answer")).to_contain_text("noon")
        expect(opened.page.get_by_role("link", name="Documents")).to_have_count(0)
        expect(opened.page.get_by_role("link", name="Administration")).to_have_count(0)
        opened.go("documents")
        expect(opened.page.get_by_text("“write”")).to_be_visible()
        opened.go("admin/keys")
        expect(opened.page.get_by_text("“admin”")).to_be_visible()
    _, secret = key(data, "reader", "--scopes", "ask,read")
    with tab(browser, server.url) as opened:
        sign_in(opened, secret)
        opened.page.get_by_role("link", name="Administration").click()
        expect(opened.page.get_by_role("heading", name="Usage and cost")).to_be_visible()
        expect(opened.page.get_by_role("link", name="Keys")).to_have_count(0)
        opened.page.get_by_role("link", name="Documents").click()
        expect(opened.page.get_by_role("button", name="Delete")).to_have_count(0)
        expect(opened.page.locator("tbody tr")).to_have_count(1)


def test_an_admin_makes_rotates_and_revokes_keys(
    server: Server, data: Path, browser: Browser
) -> None:
    _, secret = key(data, "admin", "--scopes", "ask,read,admin")
    with tab(browser, server.url) as opened:
        sign_in(opened, secret)
        opened.go("admin/keys")
        opened.page.get_by_role("button", name="New key").click()
        opened.page.get_by_label("What it is for").fill("for the page's test")
        expect(opened.page.get_by_label("write")).to_have_count(0)
        opened.page.get_by_role("button", name="Create").click()
        made = opened.page.locator(".secret").inner_text()
        assert made.startswith("pl_")
        assert opened.violations() == []
        with server.client() as http:
            headers = {"Authorization": f"Bearer {made}"}
            asked = http.post("/v1/query", json={"query": QUESTION}, headers=headers)
            assert asked.status_code == 200
            opened.page.keyboard.press("Escape")
            row = opened.page.locator("tr", has_text="for the page's test")
            row.get_by_role("button", name="Rotate").click()
            assert opened.page.locator(".secret").inner_text() != made
            opened.page.keyboard.press("Escape")
            row.get_by_role("button", name="Revoke").click()
            opened.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            expect(row).to_contain_text("revoked")
            asked = http.post("/v1/query", json={"query": QUESTION}, headers=headers)
            assert asked.status_code == 401
        opened.go("admin/usage")
        expect(opened.page.locator("tbody tr").first).to_be_visible()


def test_a_key_that_ends_loses_nothing_that_was_typed(
    server: Server, data: Path, browser: Browser
) -> None:
    id_, secret = key(data, "short", "--scopes", "ask,read")
    _, other = key(data, "next", "--scopes", "ask,read")
    with tab(browser, server.url) as opened:
        sign_in(opened, secret)
        opened.ask(QUESTION)
        with server.client() as http:
            assert rag("keys", "revoke", id_, data=data).returncode == 0
            headers = {"Authorization": f"Bearer {secret}"}
            wait_for(lambda: http.get("/v1/me", headers=headers).status_code == 401)
        opened.page.get_by_role("textbox", name="Your question").fill(QUESTION)
        opened.page.keyboard.press("Enter")
        expect(opened.page.get_by_label("API key")).to_be_visible()
        sign_in(opened, other)
        expect(opened.page.get_by_role("dialog")).to_have_count(0)
        turn = opened.page.locator(".turn").nth(1)
        turn.get_by_role("button", name="Try again").click()
        expect(opened.page.locator(".turn").nth(2).locator(".answer")).to_contain_text("noon")


def test_every_view_asks_for_another_key_once_it_is_refused(
    server: Server, data: Path, browser: Browser
) -> None:
    id_, secret = key(data, "ending", "--scopes", "ask,read,admin")
    with tab(browser, server.url) as opened:
        sign_in(opened, secret)
        opened.go("admin/keys")
        row = opened.page.locator("tr", has_text="filler")
        expect(row).to_be_visible()
        with server.client() as http:
            assert rag("keys", "revoke", id_, data=data).returncode == 0
            headers = {"Authorization": f"Bearer {secret}"}
            wait_for(lambda: http.get("/v1/me", headers=headers).status_code == 401)
        row.get_by_role("button", name="Rotate").click()
        expect(opened.page.get_by_label("API key")).to_be_visible()
