"""The page in a real browser: hostile documents, odd browsers, several users and tabs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser import Tab, needs_chromium, tab
from tests.charging import key
from tests.pdfs import lines, pdf
from tests.servers import Server, finished, serving, wait_for
from tests.shallow_minilm import shallow

pytestmark = needs_chromium
ELSEWHERE = "plumb.example"
"""A name that the browser of the tests resolves to this machine: an insecure context."""
WHERE = "Where is the key?"
KEY_IS = "The key lies in the upper drawer."
TWICE = (
    f"# Rooms\n\n## North\n\n{KEY_IS}\n\nAlder is blue.\n\n## South\n\n{KEY_IS}\n\nBirch is red.\n"
)
MARKED = """<html><title>Lamps</title><body><p><mark>The lamp costs five euros.</mark></p>
<details><summary>More</summary><p>The lamp weighs two kilos.</p></details></body></html>"""
SLOW = "# Lakes\n\nThe lake is deep.\n\n" + "_a_" * 60_000
"""Markdown that takes the parser minutes: each of its signs may begin or end an emphasis."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {"RAG_SERVER__ALLOWED_HOSTS": f'["{ELSEWHERE}"]'}
    with serving(tmp_path_factory.mktemp("odds") / "data", env=env) as running:
        with running.client() as http:
            rooms = ("North.", KEY_IS, "Alder is blue.", "South.", KEY_IS, "Birch is red.")
            sheet = pdf(lines(72, 700, *rooms))
            for name, content in {
                "twice.md": TWICE.encode(),
                "twice.pdf": sheet,
                "lamps.html": MARKED.encode(),
            }.items():
                form = {"collection": name.replace(".", "-")}
                files = {"files": (name, content)}
                assert not finished(http, http.post("/v1/documents", files=files, data=form))[
                    "failures"
                ]
        yield running


def choose(opened: Tab, collection: str) -> None:
    opened.page.get_by_role("combobox", name="Collection").select_option(collection)


@pytest.mark.parametrize("size", [(200, 14_400), (14_400, 14_400), (14_400, 200)])
def test_the_quote_is_found_on_a_page_of_extreme_proportions(
    server: Server, browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    name = f"sheet-{size[0]}-{size[1]}"
    sheet = tmp_path / f"{name}.pdf"
    sheet.write_bytes(
        pdf(
            lines(2, size[1] / 2, "The gong is bronze.", "It rings.", size=min(size) / 20 + 5),
            size=size,
        )
    )
    with server.client() as http, sheet.open("rb") as file:
        form = {"collection": name}
        sent = http.post("/v1/documents", files={"files": (sheet.name, file)}, data=form)
        assert not finished(http, sent)["failures"]
    with tab(browser, server.url, device_scale_factor=3) as opened:
        choose(opened, name)
        opened.ask("What is the gong made of?").locator(".answer .marker").first.click()
        assert opened.marked().startswith("The gong is bronze.")
        assert opened.page.evaluate(
            """() => {
                const { width, height } = document.querySelector("dialog canvas");
                return width * height <= 2 ** 24 && Math.max(width, height) <= 2 ** 14;
            }"""
        )


def before_the_mark(opened: Tab) -> str:
    """Returns the drawn text that stands before the mark."""
    expect(opened.page.locator("dialog mark").first).to_be_visible()
    found: str = opened.page.evaluate(
        """() => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector("dialog .drawn, dialog .textLayer"));
            range.setEndBefore(document.querySelector("dialog mark"));
            return range.toString();
        }"""
    )
    return found


@pytest.mark.parametrize("collection", ["twice-md", "twice-pdf"])
def test_a_quote_that_occurs_twice_is_marked_where_it_was_found(
    server: Server, browser: Browser, collection: str
) -> None:
    # Which of two equal sentences is cited is the server's choice: here it is the second.
    with server.client() as http:
        answer = http.post("/v1/query", json={"query": WHERE, "collection": collection}).json()
        cited = next(each for each in answer["citations"] if each["quote"] == KEY_IS)
        params = {"collection": collection, "as": "text"}
        text = http.get(f"/v1/documents/{cited['document_id']}/content", params=params).text
    start = text.rindex(KEY_IS)
    assert KEY_IS in text[:start]
    cited |= {"start": start, "end": start + len(KEY_IS)}
    body = b"event: answer\ndata: " + httpx.Response(200, json=answer).content + b"\n\n"

    def second(route: Route) -> None:
        route.fulfill(body=body, content_type="text/event-stream")

    with tab(browser, server.url) as opened:
        opened.page.route(re.compile("/v1/query"), second)
        choose(opened, collection)
        opened.ask(WHERE).locator(".source-card", has_text=KEY_IS).first.click()
        assert opened.marked() == KEY_IS
        assert KEY_IS in before_the_mark(opened)


def test_marks_of_a_document_are_not_those_of_the_page(server: Server, browser: Browser) -> None:
    with tab(browser, server.url) as opened:
        choose(opened, "lamps-html")
        opened.ask("How heavy is the lamp?").locator(".source-card").last.click()
        assert "five" not in opened.marked()


def test_markdown_that_is_hard_to_parse_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    env = shallow(tmp_path)  # for some hundred chunks
    with serving(tmp_path / "data", env=env) as running, running.client() as http:
        files = {"files": ("lakes.md", SLOW.encode())}
        assert not finished(http, http.post("/v1/documents", files=files))["failures"]
        with tab(browser, running.url) as opened:
            opened.ask("How deep is the lake?").locator(".source-card").first.click()
            assert opened.marked() == "The lake is deep."
            expect(opened.page.get_by_role("dialog")).to_contain_text("cannot be drawn")


def test_it_works_by_plain_http_from_another_machine(server: Server, browser: Browser) -> None:
    url = server.url.replace("127.0.0.1", ELSEWHERE)
    with tab(browser, url) as opened:
        assert opened.page.evaluate("isSecureContext") is False
        choose(opened, "twice-md")
        expect(opened.ask(WHERE).locator(".answer")).to_contain_text("drawer")
        opened.go("documents")
        files = opened.page.get_by_label("Choose files", exact=True).last
        files.set_input_files(
            {"name": "tea.txt", "mimeType": "text/plain", "buffer": b"Tea is hot."}
        )
        expect(opened.page.locator(".batch")).to_contain_text("1 stored")


@pytest.mark.parametrize("fault", ["SecurityError", "QuotaExceededError"])
def test_it_works_where_the_browser_keeps_nothing(
    server: Server, browser: Browser, fault: str
) -> None:
    script = f"""for (const kind of ["localStorage", "sessionStorage", "indexedDB"]) {{
        const get = () => {{ throw new DOMException("no", "{fault}"); }};
        Object.defineProperty(window, kind, {{ get }});
    }}"""
    with tab(browser, server.url) as opened:
        opened.page.add_init_script(script)
        opened.page.reload()
        choose(opened, "twice-md")
        expect(opened.ask(WHERE).locator(".answer")).to_contain_text("drawer")
        expect(opened.page.get_by_text("This browser does not keep conversations")).to_be_visible()
        expect(opened.page.locator(".past li")).to_have_count(1)


def test_two_tabs_keep_the_conversations_of_both(server: Server, browser: Browser) -> None:
    with tab(browser, server.url) as first:
        page = first.page.context.new_page()
        page.goto(server.url)
        second = Tab(page, server.url)
        choose(first, "twice-md")
        choose(second, "twice-md")
        first.ask(WHERE)
        second.ask("What is red?")
        past = second.page.locator(".past li")
        expect(past).to_have_count(2)
        first.reload()
        expect(first.page.locator(".past li")).to_have_count(2)
        past.first.get_by_role("button").last.click()
        first.ask("What is blue?")
        expect(first.page.locator(".past")).not_to_contain_text("What is red?")


def test_documents_are_deleted_from_the_collection_in_which_they_are_shown(
    server: Server, browser: Browser
) -> None:
    same = {"id": "same", "text": "It is one of two."}
    with server.client() as http:
        for name in ("left", "right"):
            body = {"collection": name, "documents": [{**same, "title": f"The {name} one"}]}
            finished(http, http.post("/v1/documents", json=body))
        with tab(browser, server.url) as opened:
            opened.go("documents")
            choose(opened, "left")
            row = opened.page.locator("tbody tr", has_text="The left one")
            expect(row).to_be_visible()
            held: list[Route] = []

            def hold(route: Route) -> None:
                held.append(route)

            opened.page.route(re.compile(r"/v1/documents\?.*collection=right"), hold)
            choose(opened, "right")
            row.get_by_role("button", name="Delete").click()
            opened.page.get_by_role("dialog").get_by_role("button", name="Delete").click()

            def sizes() -> list[int]:
                pages = (
                    http.get("/v1/documents", params={"collection": name}).json()["documents"]
                    for name in ("left", "right")
                )
                return [len(page) for page in pages]

            wait_for(lambda: sum(sizes()) == 1)
            opened.page.unroute_all()
        assert sizes() == [0, 1]


def test_nothing_of_a_user_is_left_for_the_next_one(browser: Browser, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, env={"RAG_GATEWAY__ENABLED": "true"}) as running:
        _, first = key(data, "first", "--scopes", "ask,read,write", "--subject", "ann")
        _, other = key(data, "other", "--scopes", "ask,read,write", "--subject", "bob")
        with tab(browser, running.url) as opened:
            for odd in ("ключ", "pl_…"):
                opened.page.get_by_label("API key").fill(odd)
                opened.page.get_by_role("button", name="Sign in").click()
                expect(opened.page.get_by_role("alert")).to_contain_text("no key has")
                opened.page.reload()
            opened.page.get_by_label("API key").fill(first)
            opened.page.get_by_role("button", name="Sign in").click()
            opened.go("documents")
            files = opened.page.get_by_label("Choose files", exact=True).last
            files.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"Ann."})
            expect(opened.page.locator(".batch")).to_contain_text("1 stored")
            opened.go("ask")
            opened.ask("Who is Ann?")
            opened.page.get_by_role("textbox", name="Your question").fill("A secret")
            opened.page.get_by_role("button", name="Sign out").click()
            opened.page.get_by_label("API key").fill(other)
            opened.page.get_by_role("button", name="Sign in").click()
            question = opened.page.get_by_role("textbox", name="Your question")
            expect(question).to_have_value("")
            expect(opened.page.locator(".turn")).to_have_count(0)
            expect(opened.page.locator(".past li")).to_have_count(0)
            opened.go("documents")
            expect(opened.page.locator("tbody tr")).to_have_count(1)
            expect(opened.page.locator(".batch")).to_have_count(0)


def test_a_turn_that_cannot_be_drawn_leaves_the_rest(server: Server, browser: Browser) -> None:
    data = ["nonsense", "{}", '{"answer": "Without the rest."}']

    def of_another_version(route: Route) -> None:
        body = f"event: answer\ndata: {data.pop(0)}\n\n"
        route.fulfill(body=body, content_type="text/event-stream")

    with tab(browser, server.url) as opened:
        choose(opened, "twice-md")
        opened.page.route(re.compile("/v1/query"), of_another_version)
        for number in range(3):
            opened.page.get_by_role("textbox", name="Your question").fill(WHERE)
            opened.page.keyboard.press("Enter")
            expect(opened.page.locator(".turns .fault").nth(number)).to_contain_text("That failed.")
        opened.page.unroute_all()
        expect(opened.ask(WHERE).locator(".answer")).to_contain_text("drawer")
        opened.reload()
        opened.page.locator(".past li").get_by_role("button").first.click()
        expect(opened.page.locator(".turns .fault")).to_have_count(3)
        expect(opened.page.locator(".turn .answer")).to_contain_text("drawer")
