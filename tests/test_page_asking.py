"""Journeys of asking: sources first, sentences one by one, footnotes, follow-ups, refusals, interruptions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from page_browser import Profile, Server, ask, finished, marked, served
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

# Emoji, letters outside the basic plane and combining marks stand before what is cited.
HARBOUR = (
    "😀 𝒜𝒷𝒸 — 👩‍👩‍👧 The harbour of Lindau 🇩🇪 has a lion. É e\u0301\r\n\r\n"
    "The lion 𐍈 is six metres high. It was carved by Johann von Halbig.\n\n"
    "A second paragraph about steamers. The light was lit in 1856.\n"
)
LION = "The lion 𐍈 is six metres high."
LIGHT = "The light was lit in 1856."
BOTH = "The light was lit in 1856, and Halbig carved it."
CARVED = "It was carved by Johann von Halbig."


def about_lindau(**more: Any) -> dict[str, Any]:
    return {
        "sentences": [
            {"text": "The lion 𐍈 is six metres high.", "cites": [LION]},
            {
                "text": "The light was lit in 1856, and Halbig carved it.",
                "cites": [LIGHT, CARVED],
                "score": 0.82,
            },
        ],
        "withheld": [["The lion is of gold.", "gold stands nowhere in its source"]],
        **more,
    }


@pytest.fixture
def lindau(site: Server) -> str:
    return site.add("lindau.txt", HARBOUR)


def selected(page: Page) -> str:
    """The active marks as the browser's own selection has them."""
    return str(
        page.evaluate(
            """() => {
              const marks = [...document.querySelectorAll("#source mark.active")];
              const range = document.createRange();
              range.setStartBefore(marks[0]);
              range.setEndAfter(marks.at(-1));
              const selection = getSelection();
              selection.removeAllRanges();
              selection.addRange(range);
              return selection.toString();
            }"""
        )
    )


def in_view(page: Page) -> bool:
    return bool(
        page.evaluate(
            """() => {
              const mark = document.querySelector("#source mark.active").getBoundingClientRect();
              const place = document.querySelector("#source .scroller").getBoundingClientRect();
              return mark.top >= place.top && mark.bottom <= place.bottom;
            }"""
        )
    )


def test_from_upload_to_the_marked_words(site: Server, profile: Profile, tmp_path: Path) -> None:
    question = "How high is the lion of Lindau?"
    site.script({question: about_lindau(holds={"0": "j1-a", "1": "j1-b", "end": "j1-c"})})
    page = profile().page(f"{site.base}/#documents")
    file = tmp_path / "lindau.txt"
    file.write_bytes(HARBOUR.encode())
    page.locator("#files").set_input_files(file)
    expect(page.locator(".uploads li")).to_contain_text(re.compile("Added|Already there"))
    page.get_by_role("link", name="Ask", exact=True).click()
    turn = ask(page, question)
    # The sources are there before a word is written.
    expect(page.locator("#source .card").first).to_be_visible()
    expect(turn.locator(".looked .all")).to_contain_text("source")
    assert turn.locator(".sentence").count() == 0
    expect(turn).to_have_attribute("aria-busy", "true")
    # Then sentences, one by one.
    site.go("j1-a")
    expect(turn.locator(".sentence")).to_have_count(1)
    expect(turn.locator(".sentence")).to_have_text("The lion 𐍈 is six metres high.1")
    site.go("j1-b")
    expect(turn.locator(".sentence")).to_have_count(2)
    expect(turn).to_have_attribute("aria-busy", "true")
    site.go("j1-c")
    finished(turn)
    # The second is supported loosely, and says so; what was withheld can be unfolded.
    expect(turn.locator(".sentence.loose")).to_have_count(1)
    expect(turn.locator(".loosely")).to_contain_text("loosely supported")
    expect(turn.get_by_text("The lion is of gold.")).not_to_be_visible()
    turn.get_by_text("1 sentence was withheld").click()
    expect(turn.get_by_text("The lion is of gold.")).to_be_visible()
    expect(turn.locator(".unsupported")).to_have_text("Unsupported")
    # Hovering lights the sentence and the source.
    turn.get_by_role("button", name=re.compile("^Footnote 2:")).hover()
    expect(turn.locator(".sentence").nth(1)).to_have_class(re.compile(r"\blit\b"))
    turn.get_by_role("button", name=re.compile("^Footnote 1:")).hover()
    expect(turn.locator(".sentence").first).to_have_class(re.compile(r"\blit\b"))
    # What the question names is among its sources, whatever else the collection holds.
    expect(page.locator("#source .card.lit .passage")).to_have_text(LION)
    # Pressing opens the document with exactly the cited characters marked.
    turn.get_by_role("button", name=re.compile("^Footnote 2:")).click()
    expect(page.locator("#source mark.active")).to_be_visible()
    answer = httpx2.post(f"{site.base}/api/ask", json={"question": question}, timeout=60).json()
    cited = {one["number"]: one["cited_text"] for one in answer["citations"]}
    assert marked(page) == selected(page) == cited[2] == CARVED
    assert in_view(page)
    # On with the keyboard alone.
    page.keyboard.press("ArrowRight")
    expect(page.locator(".where")).to_have_text("Footnote 3 of 3")
    assert marked(page) == selected(page) == cited[3] == LIGHT
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".where")).to_have_text("Footnote 1 of 3")
    assert marked(page) == selected(page) == cited[1] == LION
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".where")).to_have_text("Footnote 1 of 3")
    page.keyboard.press("Escape")
    expect(page.locator("#source")).to_be_hidden()
    expect(turn.get_by_role("button", name=re.compile("^Footnote 2:"))).to_be_focused()


def test_everything_by_keyboard(site: Server, profile: Profile, lindau: str) -> None:
    site.script({"Lion?": about_lindau(), "Light?": about_lindau()})
    page = profile().page(site.base)
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("Lion?")
    page.keyboard.press("Enter")
    finished(page.locator("article.turn"))
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.matches('.answer .note')"):
            break
    assert page.evaluate("document.activeElement.dataset.number") == "3"
    page.keyboard.press("Enter")
    expect(page.locator("#source .scroller")).to_be_focused()
    assert marked(page) == LIGHT
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Previous footnote")).to_be_focused()
    expect(page.locator(".where")).to_have_text("Footnote 2 of 3")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.number") == "3"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_follow_up_takes_the_conversation_along(site: Server, profile: Profile, lindau: str) -> None:
    site.script({"How high is it?": about_lindau(), "And the light?": about_lindau()})
    page = profile().page(site.base)
    finished(ask(page, "How high is it?"))
    page.get_by_label("Quote only").check()
    finished(ask(page, "And the light?"))
    asked = site.asked()[-1]
    assert asked["mode"] == "quote"
    assert asked["history"] == [
        ["user", "How high is it?"],
        ["assistant", f"{LION} {BOTH}"],
    ]
    expect(page.locator("article.turn")).to_have_count(2)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("article.turn")).to_have_count(0)
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()


def test_a_refusal_says_so_and_shows_what_is_nearest(site: Server, profile: Profile, lindau: str) -> None:
    site.script({"What does the lion eat?": {"reason": "the documents do not seem to state it"}})
    page = profile().page(site.base)
    turn = ask(page, "What does the lion eat?")
    finished(turn)
    expect(turn.locator(".refusal")).to_have_text("Your documents do not answer this.")
    expect(turn.locator(".reason")).to_have_text("The documents do not seem to state it.")
    nearest = turn.locator(".nearby").first
    text = nearest.locator(".passage").text_content()
    nearest.click()
    expect(page.locator("#source mark.active").first).to_be_visible()
    assert marked(page) == text


def test_stop_keeps_what_was_checked_and_retry_asks_again(
    site: Server, profile: Profile, lindau: str
) -> None:
    site.script({"Stop me": about_lindau(holds={"1": "stop-1"})})
    page = profile().page(site.base)
    turn = ask(page, "Stop me")
    expect(turn.locator(".sentence")).to_have_count(1)
    page.get_by_role("button", name="Stop").click()
    expect(turn).to_contain_text("You stopped this answer.")
    expect(turn.locator(".sentence")).to_have_count(1)
    site.go("stop-1")
    turn.get_by_role("button", name="Try again").click()
    expect(turn.locator(".sentence")).to_have_count(2)
    finished(turn)
    expect(page.locator("article.turn")).to_have_count(1)


def test_copy_as_markdown(site: Server, profile: Profile, lindau: str) -> None:
    site.script({"Lion?": about_lindau()})
    page = profile(permissions=["clipboard-read", "clipboard-write"]).page(site.base)
    turn = ask(page, "Lion?")
    finished(turn)
    turn.get_by_role("button", name="Copy with footnotes").click()
    expect(page.locator(".notice")).to_have_text("Copied as Markdown.")
    text = page.evaluate("navigator.clipboard.readText()").replace("\r\n", "\n")
    start = HARBOUR.index(LION)
    assert text.startswith(
        "The lion 𐍈 is six metres high.[^1] The light was lit in 1856, and Halbig carved it.[^2][^3]"
    )
    assert (
        f"[^1]: [lindau](<{site.base}/documents/{lindau}?start={start}&end={start + len(LION)}>): “{LION}”"
        in text
    )


def test_a_link_opens_the_document_at_its_words(site: Server, profile: Profile, lindau: str) -> None:
    start = HARBOUR.index(CARVED)
    address = f"{site.base}/documents/{lindau}?start={start}&end={start + len(CARVED)}"
    page = profile(permissions=["clipboard-read", "clipboard-write"]).page(address)
    expect(page.locator("#source mark.active")).to_be_visible()
    assert marked(page) == selected(page) == CARVED
    page.get_by_role("link", name="Copy link").click()
    expect(page.locator(".notice")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == address


def test_a_link_without_javascript_shows_the_words(site: Server, profile: Profile, lindau: str) -> None:
    page = profile(java_script_enabled=False).context.new_page()
    start = HARBOUR.index(CARVED)
    page.goto(f"{site.base}/documents/{lindau}?start={start}&end={start + len(CARVED)}")
    expect(page.locator("mark")).to_have_text(CARVED)


def test_a_document_that_is_gone_leaves_its_quotation(site: Server, profile: Profile) -> None:
    id = site.add("gone.txt", "This text will be gone. Only its quotation stays.\n")
    site.script(
        {"Gone?": {"sentences": [{"text": "It will be gone.", "cites": ["This text will be gone."]}]}}
    )
    page = profile().page(site.base)
    turn = ask(page, "Gone?")
    finished(turn)
    assert httpx2.delete(f"{site.base}/api/documents/{id}").status_code == 204
    turn.locator(".note").click()
    expect(page.locator("#source")).to_contain_text("This document is no longer in the collection.")
    expect(page.locator("#source blockquote")).to_have_text("This text will be gone.")


def test_a_server_that_dies_and_comes_back(profile: Profile, tmp_path: Path) -> None:
    with served(tmp_path / "home") as own:
        own.add("lindau.txt", HARBOUR)
        own.script({"Lion?": about_lindau(holds={"1": "never"})})
        page = profile().page(own.base)
        turn = ask(page, "Lion?")
        expect(turn.locator(".sentence")).to_have_count(1)
        own.kill()
        expect(turn.get_by_role("alert")).to_contain_text("The connection broke off")
        expect(turn.get_by_role("alert")).to_contain_text("What stands above was checked and holds.")
        turn.get_by_role("button", name="Try again").click()
        expect(turn.get_by_role("alert")).to_contain_text("The server cannot be reached.")
        own.script({"Lion?": about_lindau()})
        own.start()
        turn.get_by_role("button", name="Try again").click()
        finished(turn)
        expect(turn.locator(".sentence")).to_have_count(2)
        expect(turn.get_by_role("alert")).to_have_count(0)


def test_what_the_server_refuses_is_said_in_its_words(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "?!")
    finished(turn)
    said = httpx2.post(f"{site.base}/api/ask", json={"question": "?!"}).json()["error"]["message"]
    expect(turn.get_by_role("alert")).to_have_text(said)


def test_a_key_is_asked_for_once(profile: Profile, tmp_path: Path) -> None:
    with served(tmp_path / "home", key="open-sesame") as own:
        own.add("lindau.txt", HARBOUR)
        own.script({"Lion?": about_lindau()})
        browser = profile()
        page = browser.page(own.base)
        for given in ("wrong", "open-sesame"):
            page.get_by_label("API key").fill(given)
            page.get_by_role("button", name="Use this key").click()
            if given == "wrong":
                expect(page.get_by_role("alert")).to_have_text("That key was not accepted.")
        expect(page.locator(".holdings")).to_contain_text("1 document")
        finished(ask(page, "Lion?"))
        expect(page.locator("dialog")).to_have_count(0)
        page.reload()
        page.get_by_role("link", name="Documents", exact=True).click()
        expect(page.locator("#documents .row")).to_have_count(1)
        page.get_by_role("button", name="Forget the key").click()
        page.reload()
        expect(page.locator("dialog")).to_be_visible()


def test_screen_readers_hear_what_comes(site: Server, profile: Profile, lindau: str) -> None:
    site.script({"Heard?": about_lindau(holds={"0": "h-0", "1": "h-1", "end": "h-2"})})
    page = profile().page(site.base)
    region = page.get_by_role("status").and_(page.locator("#announcer"))
    ask(page, "Heard?")
    expect(region).to_contain_text("found.")
    site.go("h-0")
    expect(region).to_contain_text(LION.removesuffix("."))
    site.go("h-1")
    site.go("h-2")
    expect(region).to_contain_text("The answer is complete: 2 sentences. 1 sentence was withheld.")
    assert region.get_attribute("aria-live") == "polite"
