"""The page in a real browser: asking, sources, documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import NARROW, Tab, needs_chromium, tab
from tests.page import documents
from tests.servers import Server, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a document of each kind, which were uploaded by the page."""
    with serving(tmp_path_factory.mktemp("page") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def filled(server: Server, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Server:
    files = documents.write(tmp_path_factory.mktemp("files"))
    with tab(browser, server.url) as opened:
        upload(opened, *files)
        expect(opened.page.locator(".batch")).to_contain_text(f"{len(files)} stored")
        expect(opened.page.locator("tbody tr")).to_have_count(len(files))
    return server


def upload(opened: Tab, *files: Path) -> None:
    opened.go("documents")
    opened.page.get_by_label("Choose files", exact=True).last.set_input_files(files)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When does the office open?", "md"),
        ("How is the logger reset?", "html"),
        ("When was the pump P-7 replaced?", "txt"),
        ("Where are lithium batteries stored?", "pdf"),
    ],
)
def test_a_citation_opens_its_quote_in_the_document(
    filled: Server, browser: Browser, question: str, kind: str
) -> None:
    with tab(browser, filled.url) as opened:
        turn = opened.ask(question)
        quote = turn.locator(".quote").first.inner_text().strip("“”")
        turn.locator(".answer .marker").first.click()
        assert letters(opened.marked()) == letters(quote)
        dialog = opened.page.get_by_role("dialog")
        if kind == "txt":
            expect(dialog.get_by_role("button", name="Document", exact=True)).to_have_count(0)
            return
        dialog.get_by_role("button", name="Text", exact=True).click()
        expect(dialog.locator("mark")).to_have_text(
            re.compile(re.escape(quote[-12:])), use_inner_text=False
        )
        exact = opened.page.evaluate("() => document.querySelector('dialog mark').textContent")
        assert letters(exact) == letters(quote)
        if kind == "pdf":
            expect(dialog).to_contain_text("page 2")


def letters(text: str) -> str:
    """Returns what the text of a document and its drawing share."""
    return "".join(re.findall(r"[^\W_]", text))


def test_the_span_counts_code_points_after_an_emoji(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        turn = opened.ask("When is tea served in the Alder room?")
        turn.locator(".answer .marker").first.click()
        dialog = opened.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Text", exact=True).click()
        assert opened.marked().endswith("served in the Alder room at four.")


def test_an_abstention_says_why_and_shows_what_comes_closest(
    filled: Server, browser: Browser
) -> None:
    with tab(browser, filled.url) as opened:
        turn = opened.ask("Who won the football world cup of 1998?")
        expect(turn.locator(".abstained")).to_contain_text("No answer")
        expect(turn.locator(".abstained")).to_contain_text("1998")
        turn.locator(".abstained .source-card").first.click()
        assert opened.marked()


def test_what_was_searched_has_legs_and_ranks(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        turn = opened.ask("When does the office open?")
        turn.locator("summary", has_text="What was searched").click()
        heads = turn.locator("thead th").all_text_contents()
        assert {"Meaning", "Words"} <= set(heads)
        assert turn.locator("tbody tr").count() >= 1


def test_feedback_reaches_the_stored_answer(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        turn = opened.ask("When does the office close?")
        turn.get_by_role("button", name="Bad answer").click()
        turn.get_by_label("What should the answer have been?").fill("At seven.")
        turn.get_by_role("button", name="Send").click()
        expect(turn.get_by_text("Thank you.")).to_be_visible()
        opened.go("admin/answers")
        opened.page.get_by_role("button", name="When does the office close?").first.click()
        expect(opened.page.get_by_role("dialog")).to_contain_text("At seven.")


def test_conversations_are_kept_in_the_browser_alone(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        opened.ask("When does the office open?")
        opened.reload()
        opened.page.get_by_role("button", name="When does the office open?", exact=True).click()
        expect(opened.page.locator(".turn .answer")).to_contain_text("nine")
        opened.page.get_by_role("button", name="Delete all").click()
        opened.page.get_by_role("dialog").get_by_role("button", name="Delete all").click()
        expect(opened.page.locator(".past li")).to_have_count(0)
        opened.page.reload()
        expect(opened.page.get_by_text("Ask a question about")).to_be_visible()
        expect(opened.page.locator(".past li")).to_have_count(0)


def test_a_filter_narrows_what_is_searched(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        opened.page.get_by_text("Filters", exact=True).click()
        opened.page.get_by_label("Field").fill("title")
        opened.page.get_by_label("Value").fill("Support")
        opened.page.get_by_role("button", name="Add a filter").click()
        turn = opened.ask("How is the logger reset?")
        expect(turn.locator(".answer")).to_contain_text("twelve")
        expect(opened.ask("When does the office open?").locator(".abstained")).to_be_visible()


def test_a_failing_upload_says_why_and_is_tried_again(
    filled: Server, browser: Browser, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nno pages at all")
    good = tmp_path / "good.txt"
    good.write_text("The ferry leaves the north quay at noon.")
    with tab(browser, filled.url) as opened:
        upload(opened, broken, good)
        batch = opened.page.locator(".batch")
        expect(batch.get_by_text("Failed documents")).to_be_visible()
        expect(batch).to_contain_text("broken.pdf")
        expect(batch).to_contain_text("1 stored")
        batch.get_by_role("button", name="Try the failed ones again").click()
        expect(batch.get_by_role("button", name="Try the failed ones again")).to_be_visible()
        opened.page.get_by_label("State").select_option("failed")
        expect(opened.page.locator("tbody tr")).to_have_count(1)
        expect(opened.page.locator("tbody .bad")).not_to_be_empty()


def test_an_upload_is_cancelled_while_it_is_sent(browser: Browser, tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("The harbour is wide. " * 400_000)
    small.write_text("The pier is long.")
    with serving(tmp_path / "data") as server, tab(browser, server.url) as opened:
        opened.go("documents")
        expect(opened.page.get_by_text("There are no documents here.")).to_be_visible()
        throttle = {"offline": False, "latency": 0, "downloadThroughput": -1}
        session = opened.page.context.new_cdp_session(opened.page)
        session.send("Network.enable")
        slow = throttle | {"uploadThroughput": 100_000}
        session.send("Network.emulateNetworkConditions", slow)
        upload(opened, large)
        batch = opened.page.locator(".batch")
        expect(batch).to_contain_text("Sending")
        opened.page.get_by_label("Name of the collection").fill("docks")
        upload(opened, small)
        expect(batch).to_have_count(2)
        batch.last.get_by_role("button", name="Cancel").click()
        expect(batch).to_have_count(1)
        expect(batch).to_contain_text("1 stored")
        expect(opened.page.get_by_label("Name of the collection")).to_have_value("docks")
        session.send("Network.emulateNetworkConditions", throttle | {"uploadThroughput": -1})
        with server.client() as http:
            assert [each["name"] for each in http.get("/v1/collections").json()["collections"]] == [
                "docks"
            ]


def test_empty_files_and_equal_names_are_named_and_the_others_sent(
    filled: Server, browser: Browser, tmp_path: Path
) -> None:
    for name in ("a/tide.txt", "b/tide.txt", "empty.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.txt" else f"The tide of {name}.")
    with tab(browser, filled.url) as opened:
        upload(opened, *(tmp_path / name for name in ("a/tide.txt", "b/tide.txt", "empty.txt")))
        batch = opened.page.locator(".batch")
        expect(batch).to_contain_text("1 stored")
        expect(batch).to_contain_text("Empty files are not sent: empty.txt.")
        expect(batch).to_contain_text("the first is sent: tide.txt.")


def test_more_files_than_a_request_may_have_go_in_portions(
    browser: Browser, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(501)]
    for number, file in enumerate(files):
        file.write_text(f"Buoy {number}.")
    with serving(tmp_path / "data") as server, tab(browser, server.url) as opened:
        opened.go("documents")
        opened.page.get_by_label("Choose files", exact=True).last.set_input_files(files)
        expect(opened.page.locator(".batch")).to_have_count(2)
        expect(opened.page.get_by_text("1 of 1 documents")).to_be_visible()


def test_a_document_is_deleted_after_a_question(
    filled: Server, browser: Browser, tmp_path: Path
) -> None:
    doomed = tmp_path / "doomed.txt"
    doomed.write_text("The lighthouse at Brackwater was built in 1874.")
    with tab(browser, filled.url) as opened:
        upload(opened, doomed)
        expect(opened.page.locator(".batch")).to_contain_text("1 stored")
        opened.go("ask")
        turn = opened.ask("When was the lighthouse at Brackwater built?")
        expect(turn.locator(".answer")).to_contain_text("1874")
        opened.go("documents")
        opened.page.get_by_role("button", name=re.compile("^Delete: .*doomed")).click()
        opened.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(opened.page.get_by_text("is deleted.")).to_be_visible()
        opened.go("ask")
        opened.page.locator(".turn .source-card").first.click()
        dialog = opened.page.get_by_role("dialog")
        expect(dialog).to_contain_text("was deleted since")
        expect(dialog).to_contain_text("1874")


def test_a_hostile_document_is_drawn_harmlessly(
    filled: Server, browser: Browser, tmp_path: Path
) -> None:
    bidi = "invoice\u202egnp.txt"
    for name in ("hostile.md", "hostile.html"):
        (tmp_path / name).write_text(f"{documents.HOSTILE}<p>{name}</p>")
    (tmp_path / bidi).write_text("The mooring fee is nine crowns.")
    with tab(browser, filled.url) as opened:
        upload(opened, *(tmp_path / name for name in ("hostile.md", "hostile.html", bidi)))
        expect(opened.page.locator(".batch")).to_contain_text("3 of 3")
        assert "\u202e" not in opened.page.locator("table").inner_text()
        for title in ("hostile.md", "hostile.html"):
            opened.page.locator("tr", has_text=title).get_by_role("button").first.click()
            drawn = opened.page.locator(".drawn")
            expect(drawn).to_contain_text("The courier is paid 40 euros a day.")
            for tag in ("script", "img", "svg", "form", "style", "iframe", "[onload]", "[onerror]"):
                expect(drawn.locator(tag)).to_have_count(0)
            hrefs = drawn.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
            assert not [href for href in hrefs if href and not href.startswith("https://")]
            opened.page.keyboard.press("Escape")
        opened.go("ask")
        opened.ask("What is the courier paid a day?")
        assert opened.page.title() == "Plumbline"
        # The policy refuses styles as soon as they are parsed, before the sanitizer takes them out.
        assert all("inline style" in error for error in opened.errors)
        opened.errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing(
    filled: Server, browser: Browser, scheme: str, viewport: dict[str, int] | None
) -> None:
    with tab(
        browser, filled.url, color_scheme=scheme, **({"viewport": viewport} if viewport else {})
    ) as opened:
        turn = opened.ask("When does the office open?")
        turn.locator("summary", has_text="What was searched").click()
        opened.ask("Who won the football world cup of 1998?")
        assert opened.violations() == []
        turn.locator(".source-card").first.click()
        opened.marked()
        assert opened.violations() == []
        opened.page.keyboard.press("Escape")
        for place in ("documents", *(f"admin/{part}" for part in PARTS)):
            opened.go(place)
            expect(opened.page.locator("h1")).to_be_visible()
            expect(opened.page.get_by_text("Loading …")).to_have_count(0)
            assert (place, opened.violations()) == (place, [])


PARTS = ("usage", "answers", "runs", "drift", "keys", "queue", "tenants")


def test_german_is_chosen_by_the_browser(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url, locale="de-DE") as opened:
        expect(opened.page.get_by_role("link", name="Dokumente", exact=True)).to_be_visible()
        assert opened.page.evaluate("document.documentElement.lang") == "de"
        opened.page.get_by_label("Sprache").select_option("en")
        expect(opened.page.get_by_role("link", name="Documents", exact=True)).to_be_visible()


def test_the_keyboard_suffices(filled: Server, browser: Browser) -> None:
    with tab(browser, filled.url) as opened:
        opened.page.get_by_role("textbox", name="Your question").focus()
        opened.page.keyboard.type("When does the office open?")
        opened.page.keyboard.press("Enter")
        marker = opened.page.locator(".answer .marker").first
        expect(marker).to_be_visible()
        marker.focus()
        opened.page.keyboard.press("Enter")
        opened.marked()
        opened.page.keyboard.press("Escape")
        expect(opened.page.get_by_role("dialog")).to_have_count(0)
        expect(marker).to_be_focused()


def test_the_usage_says_where_nothing_is_recorded(server: Server, browser: Browser) -> None:
    with tab(browser, server.url) as opened:
        opened.go("admin/usage")
        expect(opened.page.get_by_text("Nothing is recorded")).to_contain_text("gateway.enabled")
        expect(opened.page.get_by_text("There is nothing yet.")).to_have_count(0)
