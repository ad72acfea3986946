"""Where the focus is, whatever comes and goes; what is pressed twice, fails, or is left and found again."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest
from page_browser import Profile, Server, ask, finished, marked
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.browser

FERRY = (
    "The ferry to Romanshorn takes 41 minutes. It carries cars.\n\n"
    "The ferry to Konstanz runs all night. Its crew is nine.\n\n" + "The lake is calm today.\n\n" * 900
)
FIRST = "The ferry to Romanshorn takes 41 minutes."
SECOND = "Its crew is nine."
SAID = [{"text": "It takes 41 minutes.", "cites": [FIRST]}, {"text": "Its crew is nine.", "cites": [SECOND]}]


@pytest.fixture(autouse=True)
def ferry(site: Server) -> str:
    site.script({"Ferry?": {"sentences": SAID}, "Crew?": {"sentences": SAID[1:]}})
    return site.add("ferry.txt", FERRY)


def busy(route: Route) -> None:
    error = {"message": "9 questions wait", "type": "server_error", "param": None, "code": "too_busy"}
    route.fulfill(
        status=429,
        headers={"Retry-After": "7", "Content-Type": "application/json"},
        body=json.dumps({"error": error}),
    )


def test_who_is_sent_away_is_told_for_how_long(site: Server, profile: Profile) -> None:
    browser = profile()
    browser.context.clock.install()
    page = browser.page(site.base)
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 60)
    page.route("**/api/ask", busy)
    turn = ask(page, "Ferry?")
    expect(turn.get_by_role("alert")).to_have_text("9 questions wait")
    again = turn.locator(".actions .primary")
    expect(again).to_have_text("Try again in 7 s")
    expect(again).to_have_attribute("aria-disabled", "true")
    page.unroute("**/api/ask")
    page.clock.run_for(3_000)
    expect(again).to_have_text("Try again in 4 s")
    # Who presses early does nothing, and a reload makes it neither shorter nor longer.
    again.click(force=True)
    page.reload()
    expect(again).to_have_text("Try again in 4 s")
    page.clock.run_for(5_000)
    expect(again).to_have_text("Try again")
    again.click()
    expect(page.locator(".sentence")).to_have_count(2)


def test_the_focus_stays_with_who_asks_again(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "Ferry?")
    finished(turn)
    turn.get_by_role("button", name="Ask again").focus()
    page.keyboard.press("Enter")
    expect(turn.get_by_role("heading", name="Ferry?")).to_be_focused()
    finished(turn)
    expect(turn.get_by_role("heading", name="Ferry?")).to_be_focused()


def test_what_is_focused_while_an_answer_comes_stays_so(site: Server, profile: Profile) -> None:
    holds = {name: f"f-{time.monotonic_ns()}-{name}" for name in ("0", "1")}
    site.script({"Held?": {"sentences": SAID, "holds": holds}})
    page = profile().page(site.base)
    turn = ask(page, "Held?")
    every = turn.locator(".looked .all")
    every.focus()
    site.go(holds["0"])
    note = turn.locator(".note")
    expect(note).to_have_count(1)
    expect(every).to_be_focused()
    note.focus()
    site.go(holds["1"])
    finished(turn)
    expect(note.first).to_be_focused()


def test_a_source_that_is_closed_gives_the_focus_back(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "Ferry?")
    finished(turn)
    # It opened by itself: back to the box for the next question.
    page.locator("#source .card").first.focus()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Your question")).to_be_focused()
    # It was opened by the line above the answer, and a document from there.
    every = turn.locator(".looked .all")
    every.press("Enter")
    expect(page.locator("#source .scroller")).to_be_focused()
    page.locator("#source .card").first.press("Enter")
    expect(page.locator("#source mark.active").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(every).to_be_focused()


def test_steps_may_be_pressed_faster_than_documents_come(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "Ferry?")
    finished(turn)
    held: list[Route] = []
    page.route("**/text?*", lambda route: held.append(route))
    turn.locator(".note").first.click()
    onward = page.get_by_role("button", name="Next footnote")
    onward.press("Enter")
    onward.press("Enter")
    expect(page.locator(".where")).to_have_text("Footnote 2 of 2")
    expect(onward).to_be_focused()
    while len(held) < 2:
        page.wait_for_timeout(10)
    held[-1].continue_()  # the one before was given up
    expect(page.locator("#source mark.active")).to_be_visible()
    assert marked(page) == SECOND
    expect(onward).to_be_focused()


def test_a_source_that_fails_can_be_tried_again(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "Ferry?")
    finished(turn)
    # One is open, the next does not come.
    turn.locator(".note").first.click()
    expect(page.locator("#source mark.active")).to_be_visible()
    page.keyboard.press("Escape")
    page.route("**/text?*", lambda route: route.abort())
    turn.locator(".note").nth(1).click()
    expect(page.locator("#source").get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.locator("#source blockquote")).to_have_text(SECOND)
    page.unroute("**/text?*")
    page.locator("#source").get_by_role("button", name="Try again").click()
    expect(page.locator("#source mark.active")).to_be_visible()
    assert marked(page) == SECOND


def test_back_opens_the_document_again(site: Server, profile: Profile, ferry: str) -> None:
    address = f"{site.base}/documents/{ferry}?start=0&end={len(FIRST)}"
    page = profile().page(address)
    expect(page.locator("#source mark.active")).to_be_visible()
    page.get_by_role("link", name="Conversations").click()
    expect(page.locator("#source")).to_be_hidden()
    page.go_back()
    assert page.url == address
    expect(page.locator("#source mark.active")).to_be_visible()
    assert marked(page) == FIRST


def test_the_address_says_what_is_shown(site: Server, profile: Profile) -> None:
    browser = profile()
    page = browser.page(f"{site.base}/#conversation=none")
    expect(page.locator(".notice")).to_have_text("This conversation is not in this browser.")
    assert page.url == f"{site.base}/#ask"
    for question in ("Ferry?", "Crew?"):
        page.get_by_role("link", name="Ask", exact=True).click()
        if page.get_by_role("button", name="New conversation").is_visible():
            page.get_by_role("button", name="New conversation").click()
        finished(ask(page, question))
    page.get_by_role("link", name="Conversations").click()
    titles = page.locator("#conversations .title")
    expect(titles).to_have_count(2)
    hashes = dict(titles.evaluate_all("(all) => all.map((a) => [a.textContent, a.hash])"))
    addresses = [hashes["Crew?"], hashes["Ferry?"]]
    # Two are asked for at once: the later is shown.
    page.evaluate("(hashes) => { for (const hash of hashes) location.hash = hash; }", addresses)
    expect(page.locator(".question")).to_have_text(["Ferry?"])
    page.evaluate("location.hash = '#ask'")
    expect(page).to_have_url(f"{site.base}/{addresses[1]}")


@pytest.mark.parametrize(
    "hash", ["#__proto__", "#toString", "#conversation", "#conversation=", "#%", "#ask=="]
)
def test_any_address_shows_the_page(site: Server, profile: Profile, hash: str) -> None:
    page = profile().page(f"{site.base}/{hash}")
    expect(page.get_by_label("Your question")).to_be_visible()


def test_a_list_that_is_made_anew_keeps_the_focus(site: Server, profile: Profile) -> None:
    browser = profile()
    one, two = browser.page(site.base), browser.page(site.base)
    finished(ask(one, "Ferry?"))
    one.get_by_role("link", name="Conversations").click()
    rename = one.get_by_role("button", name="Rename “Ferry?”")
    rename.focus()
    finished(ask(two, "Crew?"))
    expect(one.locator("#conversations .row")).to_have_count(2)
    expect(rename).to_be_focused()
    one.get_by_role("button", name="Delete “Ferry?”").press("Enter")
    expect(one.get_by_role("link", name="Crew?")).to_be_focused()
    one.get_by_role("button", name="Undo").press("Enter")
    expect(one.get_by_role("link", name="Ferry?")).to_be_focused()


def listing(count: int) -> Any:
    """What the list of documents is, with so many in it."""

    def answered(route: Route) -> None:
        asked = httpx2.URL(route.request.url).params
        after = int(asked.get("after") or count)
        size = int(asked["limit"])
        shown = range(after, max(after - size, 0), -1)
        documents = [
            {"id": f"d{n}", "title": f"Number {n}", "uri": f"upload://Number {n}.txt", "passages": 1,
             "characters": 5}
            for n in shown
        ]  # fmt: skip
        left = shown[-1] - 1
        route.fulfill(json={"documents": documents, "next": str(left) if left else None, "total": count})

    return answered


def test_a_long_list_stays_where_it_is(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    page.route("**/api/documents?*", listing(500))
    page.route("**/api/documents/d*", lambda route: route.fulfill(status=204))
    page.clock.install()
    page.get_by_role("link", name="Documents", exact=True).click()
    rows = page.locator("#documents .row")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show more").press("Enter")
    expect(rows).to_have_count(100)
    expect(page.get_by_role("button", name="Number 450", exact=True)).to_be_focused()
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(150)
    page.get_by_role("button", name="Delete “Number 380”").press("Enter")
    expect(page.get_by_role("button", name="Number 379", exact=True)).to_be_focused()
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.get_by_role("button", name="Number 380", exact=True)).to_be_focused()
    expect(rows.nth(120)).to_contain_text("Number 380")
    with page.expect_request("**/api/documents/d380"):
        page.get_by_role("button", name="Delete “Number 380”").click()
        page.mouse.move(0, 0)
        page.locator("h1:visible").focus()
        page.clock.fast_forward(9_000)
    expect(rows).to_have_count(149)


def test_a_file_that_could_not_be_sent_is_sent_again(site: Server, profile: Profile) -> None:
    page = profile().page(f"{site.base}/#documents")
    page.route("**/api/documents", lambda route: route.abort())
    file = {"name": "late.txt", "mimeType": "text/plain", "buffer": b"It comes late.\n"}
    page.locator("#files").set_input_files(file)  # type: ignore[arg-type]
    row = page.locator(".uploads li")
    expect(row).to_have_attribute("data-state", "failed")
    page.unroute("**/api/documents")
    row.get_by_role("button", name="Try again").press("Enter")
    expect(row).to_have_attribute("data-state", "added")
    expect(row).to_be_focused()
    expect(row.get_by_role("button")).to_have_count(0)


def words_of(page: Page) -> list[str]:
    return page.locator("#announcer").evaluate(
        "(all) => [...all.children].map((one) => one.textContent.trim())"
    )


def test_nothing_that_is_said_is_lost(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    finished(ask(page, "Ferry?"))
    expect(page.locator("#announcer")).to_contain_text("complete")
    said = words_of(page)
    assert said[0] == "Looking through the documents."
    assert said[1].endswith("found.")
    assert said[2:] == [
        "It takes 41 minutes [1].",
        "Its crew is nine [2].",
        "The answer is complete: 2 sentences.",
    ]
    assert page.locator("#announcer").get_attribute("aria-atomic") == "false"
