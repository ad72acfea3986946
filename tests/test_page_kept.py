"""What stays: conversations over a reload and in two tabs; documents added, searched, deleted; large ones."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from page_browser import Profile, Server, ask, finished, marked, served
from playwright.sync_api import Page, expect
from test_page_served import write_run

pytestmark = pytest.mark.browser

MILL = "The mill of Sanssouci ground corn until 1861. Its sails are of oak.\n"
CORN = {"text": "It ground corn until 1861.", "cites": ["The mill of Sanssouci ground corn until 1861."]}
OAK = {"text": "They are of oak.", "cites": ["Its sails are of oak."]}


@pytest.fixture(autouse=True)
def mill(site: Server) -> str:
    holds = {"0": f"k-{time.monotonic_ns()}"}
    site.script(
        {
            "Until when?": {"sentences": [CORN]},
            "And the sails?": {"sentences": [OAK]},
            "Held?": {"sentences": [OAK], "holds": holds},
        }
    )
    return site.add("mill.txt", MILL)


def eventually(is_so: Callable[[], bool]) -> None:
    """Waits for what no event tells of."""
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to be so")


def kept(page: Page) -> dict[str, list[str]]:
    """The questions of each conversation in the browser's database."""
    found: dict[str, list[str]] = page.evaluate(
        """async () => {
          const store = await (await import("/static/store.js")).openStore();
          const found = {};
          for (const { id, title } of await store.conversations())
            found[title] = (await store.conversation(id)).turns.map((turn) => turn.question);
          return found;
        }"""
    )
    return found


def test_a_reload_keeps_the_conversation(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    finished(ask(page, "Until when?"))
    finished(ask(page, "And the sails?"))
    page.reload()
    expect(page.locator("article.turn")).to_have_count(2)
    expect(page.locator(".question").first).to_have_text("Until when?")
    page.locator(".note").nth(1).click()
    expect(page.locator("#source mark.active")).to_be_visible()
    assert marked(page) == "Its sails are of oak."
    page.goto(site.base)
    expect(page.locator("article.turn")).to_have_count(0)
    page.get_by_role("link", name="Conversations").click()
    page.get_by_role("link", name="Until when?").click()
    expect(page.locator("article.turn")).to_have_count(2)
    page.go_back()
    expect(page.locator("#conversations")).to_be_visible()


def test_an_answer_is_on_disk_before_it_is_shown_as_finished(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    # A slow disk: what is written arrives late, and the page is left the moment that it says "finished".
    page.evaluate(
        """() => {
            const put = IDBObjectStore.prototype.put;
            IDBObjectStore.prototype.put = function (value) {
                let request;
                const until = performance.now() + 300;
                const wait = () => {
                    if (performance.now() < until) this.count().onsuccess = wait;
                    else request = put.call(this, value);
                };
                wait();
                return request;
            };
            new MutationObserver(() => {
                const turn = document.querySelector("article.turn");
                if (turn?.getAttribute("aria-busy") === "false") location.reload();
            }).observe(document.body, { subtree: true, attributes: true, childList: true });
        }"""
    )
    page.get_by_label("Your question").fill("Until when?")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("article.turn .sentence")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_reload_in_mid_answer_says_so(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "Held?")
    expect(page.locator("#source .card").first).to_be_visible()
    page.reload()
    turn = page.locator("article.turn")
    expect(turn.get_by_role("alert")).to_have_text("The page was closed before the answer was finished.")
    site.script({"Held?": {"sentences": [OAK]}})
    turn.get_by_role("button", name="Try again").click()
    expect(turn.locator(".sentence")).to_have_count(1)


def test_two_tabs_lose_nothing(site: Server, profile: Profile) -> None:
    browser = profile()
    one = browser.page(site.base)
    finished(ask(one, "Until when?"))
    two = browser.page(one.url)
    expect(two.locator("article.turn")).to_have_count(1)
    # Both ask in the same conversation at once.
    one.get_by_label("Your question").fill("And the sails?")
    two.get_by_label("Your question").fill("What else?")
    one.keyboard.press("Enter")
    two.keyboard.press("Enter")
    for page in (one, two):
        expect(page.locator("article.turn")).to_have_count(3)
        expect(page.locator('article.turn[aria-busy="true"]')).to_have_count(0)
        expect(page.locator("article.turn", has_text="And the sails?").locator(".sentence")).to_have_count(1)
    assert kept(one)["Until when?"][0] == "Until when?"
    assert sorted(kept(one)["Until when?"][1:]) == ["And the sails?", "What else?"]
    # What one renames and deletes, the other hears of.
    for page in (one, two):
        page.get_by_role("link", name="Conversations").click()
    one.get_by_role("button", name="Rename “Until when?”").click()
    one.get_by_label("New name").fill("The mill")
    one.keyboard.press("Enter")
    expect(two.get_by_role("link", name="The mill")).to_be_visible()
    expect(one.get_by_role("link", name="The mill")).to_be_focused()
    two.get_by_role("button", name="Delete “The mill”").click()
    expect(one.locator("#conversations .nothing")).to_be_visible()
    two.get_by_role("button", name="Undo").click()
    expect(one.get_by_role("link", name="The mill")).to_be_visible()
    assert len(kept(two)["The mill"]) == 3


def test_many_writes_of_two_tabs_at_once(site: Server, profile: Profile) -> None:
    browser = profile()
    pages = [browser.page(site.base), browser.page(site.base)]
    start = """(tab) => {
      window.writing = import("/static/store.js").then(async ({ openStore }) => {
        const store = await openStore();
        const turn = (n) => ({
          id: `${tab}-${n}`, conversation: "shared", question: `${tab} ${n}`, created: n, updated: n,
        });
        await Promise.all([...Array(60).keys()].map((n) => store.putTurn(turn(n))));
      });
    }"""
    for index, page in enumerate(pages):
        page.evaluate(start, f"tab{index}")
    for page in pages:
        page.evaluate("window.writing")
    (questions,) = kept(pages[0]).values()
    assert len(set(questions)) == 120


def test_a_browser_that_keeps_nothing_still_answers(site: Server, profile: Profile) -> None:
    browser = profile()
    browser.context.add_init_script(
        """const forbidden = { get() { throw new DOMException("no", "SecurityError"); } };
        for (const name of ["indexedDB", "localStorage", "sessionStorage"])
          Object.defineProperty(window, name, forbidden);"""
    )
    page = browser.page(site.base)
    finished(ask(page, "Until when?"))
    page.get_by_role("link", name="Conversations").click()
    expect(page.locator("#conversations .lead")).to_contain_text("gone when it is closed")
    page.get_by_role("link", name="Until when?").click()
    expect(page.locator(".sentence")).to_have_count(1)


def test_a_browser_without_room_says_so_once(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    page.evaluate(
        """() => {
          const full = () => { throw new DOMException("full", "QuotaExceededError"); };
          IDBObjectStore.prototype.put = full;
        }"""
    )
    turn = ask(page, "Until when?")
    expect(page.locator(".notice")).to_have_text(
        "This browser has no room for this conversation: it is gone when the page is closed."
    )
    finished(turn)
    expect(page.locator(".sentence")).to_have_count(1)


def test_exports(site: Server, profile: Profile, mill: str) -> None:
    page = profile().page(site.base)
    finished(ask(page, "Until when?"))
    page.get_by_role("link", name="Conversations").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export “Until when?”").click()
    assert download.value.suggested_filename == "Until-when.md"
    text = Path(download.value.path()).read_text()
    assert text.startswith(
        "# Until when?\n\n## Until when?\n\nIt ground corn until 1861.[^1]\n\n[^1]: [mill](<http"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all as JSON").click()
    (one,) = json.loads(Path(download.value.path()).read_text())["conversations"]
    assert one["turns"][0]["answer"]["citations"][0]["document_id"] == mill


# -- documents ---------------------------------------------------------------------------------------


def test_files_are_dropped_and_each_has_its_result(site: Server, profile: Profile) -> None:
    page = profile().page(f"{site.base}/#documents")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["Dropped words stay dropped.\\n"], "dropped.txt"));
          data.items.add(new File(["no pdf"], "broken.pdf"));
          for (const type of ["dragenter", "dragover", "drop"])
            dispatchEvent(new DragEvent(type, { dataTransfer: data, cancelable: true, bubbles: true }));
        }"""
    )
    rows = page.locator(".uploads li")
    expect(rows.nth(0)).to_have_attribute("data-state", re.compile("added|unchanged"))
    expect(rows.nth(1)).to_have_attribute("data-state", "failed")
    expect(rows.nth(1)).to_contain_text("broken.pdf")
    expect(rows.nth(1).locator(".more")).not_to_be_empty()
    page.get_by_label("Search").fill("dropped")
    expect(page.locator("#documents .row")).to_have_count(1)
    page.get_by_role("button", name="dropped", exact=True).click()
    expect(page.locator("#source .text")).to_have_text("Dropped words stay dropped.\n")


def test_an_upload_shows_how_far_it_is(site: Server, profile: Profile, tmp_path: Path) -> None:
    page = profile().page(f"{site.base}/#documents")
    large = tmp_path / "large.txt"
    large.write_text("The quick brown fox was here.\n\n" * 40_000)
    page.evaluate(
        """() => {
          window.shares = [];
          new MutationObserver(() => {
            const bar = document.querySelector("progress");
            if (bar) window.shares.push(bar.hasAttribute("value") ? bar.value : "reading");
          }).observe(document.body, { subtree: true, attributes: true, childList: true });
        }"""
    )
    page.locator("#files").set_input_files(large)
    expect(page.locator(".uploads li")).to_have_attribute(
        "data-state", re.compile("added|unchanged"), timeout=60_000
    )
    shares = page.evaluate("window.shares")
    assert "reading" in shares


def test_paste_search_and_delete_with_undo(site: Server, profile: Profile) -> None:
    page = profile().page(f"{site.base}/#documents")
    page.get_by_role("button", name="Paste text").click()
    page.get_by_label("Title").fill("A pasted note")
    page.get_by_label("Text", exact=True).fill("Pasted words are words too.")
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("#documents .row", has_text="A pasted note")
    expect(row).to_be_visible()
    page.get_by_label("Search").fill("no such thing")
    expect(page.locator("#documents .nothing")).to_contain_text("No document is called “no such thing”.")
    page.get_by_label("Search").fill("pasted")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete “A pasted note”").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    # Deleted for good when the page is left before the time is over.
    row.get_by_role("button", name="Delete “A pasted note”").click()
    page.goto("about:blank")
    listed = f"{site.base}/api/documents?q=pasted"
    eventually(lambda: httpx2.get(listed).json()["total"] == 0)
    page.goto(f"{site.base}/#documents")
    page.get_by_label("Search").fill("pasted")
    expect(page.locator("#documents .nothing")).to_be_visible()


def test_a_large_document_opens_at_once_and_goes_on(site: Server, profile: Profile, mill: str) -> None:
    line = "𝒜 line of a large book, number {:06d}, goes on and on for a while 😀.\n"
    # 5.6 MB; empty lines divide it, since a text without any is refused as data.
    text = "".join(line.format(number) + "\n" * (number % 5 == 4) for number in range(75_000))
    wanted = line.format(40_000).strip()
    id = site.add("large.md", text)
    start = text.index(wanted)
    browser = profile()

    def opened(path: str) -> tuple[Page, float]:
        began = time.monotonic()
        page = browser.page(f"{site.base}/documents/{path}")
        expect(page.locator("#source mark.active")).to_be_visible()
        return page, time.monotonic() - began

    # As quickly as a text of two lines, however busy the machine is.
    shortest = min(opened(f"{mill}?start=0&end=9")[1] for _ in range(3))
    page, took = opened(f"{id}?start={start}&end={start + len(wanted)}")
    assert marked(page) == wanted
    assert took < 3 * shortest + 0.5, f"{took:.2f} s, and {shortest:.2f} s for a short one"
    size = "document.querySelector('#source .text').textContent.length"
    assert page.evaluate(size) < 60_000
    before = page.evaluate(size)
    page.evaluate("document.querySelector('#source .scroller').scrollTop = 1e9")
    eventually(lambda: page.evaluate(size) > before + 8_000)
    top = page.evaluate("document.querySelector('#source mark.active').getBoundingClientRect().top")
    before = page.evaluate(size)
    page.evaluate("document.querySelector('#source .scroller').scrollTop = 0")
    eventually(lambda: page.evaluate(size) > before + 8_000)
    assert top < 0
    shown = page.evaluate("document.querySelector('#source .text').textContent")
    assert shown in text
    assert shown.startswith("𝒜 line")
    page.keyboard.press("Home")
    assert marked(page) == wanted


def test_a_document_read_to_its_end_does_not_fill_the_memory(site: Server, profile: Profile) -> None:
    line = "Line {:06d} of a book that is long, and has a 😀 in it.\n"
    text = "".join(line.format(number) + "\n" * (number % 5 == 4) for number in range(9_000))
    id = site.add("long.md", text)
    page = profile().page(f"{site.base}/documents/{id}?start=0&end=11")
    expect(page.locator("#source mark.active")).to_be_visible()
    shown = "document.querySelector('#source .text').textContent"
    at_top = """() => {
      const place = document.querySelector("#source .scroller");
      const { left, top } = place.getBoundingClientRect();
      const middle = left + place.clientWidth / 2;
      const { startContainer, startOffset } = document.caretRangeFromPoint(middle, top + 60);
      return startContainer.textContent.slice(startOffset, startOffset + 40);
    }"""
    moved = "(by) => { document.querySelector('#source .scroller').scrollTop += by; }"
    largest = 0
    for _ in range(3_000):
        page.evaluate(moved, 4_000)
        page.wait_for_timeout(5)
        largest = max(largest, page.evaluate(f"{shown}.length"))
        if page.evaluate(
            f"{shown}.endsWith('Line 008999 of a book that is long, and has a 😀 in it.\\n\\n')"
        ):
            break
    else:
        raise AssertionError("the end is never reached")
    found = page.evaluate(shown)
    assert found in text
    assert largest < 200_000
    assert not found.startswith("Line 000000")
    # What is read stays where it is when what is far above is dropped, or comes back.
    before = page.evaluate(at_top)
    assert before
    page.wait_for_timeout(100)
    assert page.evaluate(at_top) == before
    for _ in range(3_000):
        page.evaluate(moved, -4_000)
        page.wait_for_timeout(5)
        largest = max(largest, page.evaluate(f"{shown}.length"))
        if page.evaluate(f"{shown}.startsWith('Line 000000')"):
            break
    else:
        raise AssertionError("the beginning is never reached again")
    assert page.evaluate(shown) in text
    assert largest < 200_000
    assert marked(page) == "Line 000000"


def test_evaluations_are_listed_and_open(profile: Profile, tmp_path: Path) -> None:
    with served(tmp_path / "home", key="open-sesame") as own:
        browser = profile()
        page = browser.page(f"{own.base}/#evaluations")
        page.get_by_label("API key").fill("open-sesame")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#evaluations .nothing")).to_contain_text("footnote eval")
        write_run(own.home, "gold <b>")
        page.reload()
        expect(page.locator("#evaluations .row .facts")).to_have_text(
            re.compile(r"^gold <b>\xa0· .+\d{4}.*\xa0· written answers\xa0· m$")
        )
        # A browser sends no key with it: the address has a ticket.
        with browser.context.expect_page() as opened:
            page.get_by_role("link", name="1 of 1 question went right").click()
        report = opened.value
        said: list[str] = []
        report.on("console", lambda message: said.append(message.text))
        expect(report.get_by_role("heading", level=1)).to_have_text("1 of 1 question went right")
        report.reload()
        # Its style and its script are let through by their digests.
        assert report.evaluate("getComputedStyle(document.body).maxWidth") == "1184px"
        expect(report.locator("form output")).not_to_be_empty()
        assert said == []
