"""What everybody needs: nothing that axe finds, no shifts, narrow screens, other directions, no motion."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from page_browser import Profile, Server, ask, finished
from playwright.sync_api import FilePayload, Page, expect

pytestmark = pytest.mark.browser

AXE = Path(os.environ.get("AXE_CORE") or Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js")
ZOO = "The zoo of Zurich opened in 1929. Its elephants bathe at noon. Its seals are fed at two.\n"
ARABIC = "افتتحت حديقة الحيوان في زيورخ عام 1929. تضم قطيعا من الفيلة.\n"
SAID = [
    {"text": "The zoo of Zurich opened in 1929.", "cites": ["The zoo of Zurich opened in 1929."]},
    {"text": "Its elephants bathe.", "cites": ["Its elephants bathe at noon."], "score": 0.85},
]


@pytest.fixture(autouse=True)
def zoo(site: Server) -> str:
    site.script(
        {
            "Zurich?": {"sentences": SAID, "withheld": [["It has 99 seals.", "99 stands nowhere"]]},
            "Slowly?": {
                "sentences": SAID,
                "holds": {"evidence": "l-e", "0": "l-0", "1": "l-1", "end": "l-2"},
            },
            "Waits?": {"sentences": SAID, "holds": {"0": "never"}},
            "Price?": {"reason": "the documents do not seem to state it"},
            "متى؟": {
                "sentences": [{"text": ARABIC.split(". ")[0] + ".", "cites": [ARABIC.split(". ")[0] + "."]}]
            },
        }
    )
    site.add("زيورخ.txt", ARABIC)
    return site.add("zurich.txt", ZOO)


def welcome(page: Page) -> None:
    expect(page.locator(".holdings a")).to_be_visible()


def waiting(page: Page) -> None:
    turn = ask(page, "Waits?")
    expect(turn.locator(".pending .words")).to_be_visible()


def keyless(page: Page) -> None:
    page.route("**/api/collection", lambda route: route.fulfill(status=401, body=""))
    page.get_by_role("link", name="Documents", exact=True).click()
    expect(page.get_by_label("API key")).to_be_visible()


def answered(page: Page) -> None:
    turn = ask(page, "Zurich?")
    finished(turn)
    turn.locator(".withheld summary").click()


def opened(page: Page) -> None:
    answered(page)
    page.locator(".note").first.click()
    expect(page.locator("#source mark.active")).to_be_visible()


def refused(page: Page) -> None:
    finished(ask(page, "Price?"))


def failed(page: Page) -> None:
    page.route("**/api/ask", lambda route: route.abort())
    finished(ask(page, "Zurich?"))


def conversations(page: Page) -> None:
    answered(page)
    page.get_by_role("link", name="Conversations").click()
    page.get_by_role("button", name="Rename “Zurich?”").click()


def documents(page: Page) -> None:
    page.get_by_role("link", name="Documents", exact=True).click()
    expect(page.locator("#documents .row").first).to_be_visible()
    page.get_by_role("button", name="Paste text").click()
    broken: FilePayload = {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"x"}
    page.locator("#files").set_input_files(broken)
    expect(page.locator('.uploads [data-state="failed"]')).to_be_visible()


def choosing(page: Page) -> None:
    page.locator(".scope summary").click()
    expect(page.locator(".scopes section").first).to_be_visible()


def evaluations(page: Page) -> None:
    page.get_by_role("link", name="Evaluations").click()
    expect(page.locator("#evaluations .nothing")).to_be_visible()


STATES: list[Callable[[Page], None]] = [
    welcome, waiting, keyless, answered, opened, refused, failed, conversations, documents, choosing,
    evaluations,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing(site: Server, profile: Profile, state: Callable[[Page], None]) -> None:
    if not AXE.exists():
        assert not os.environ.get("BROWSER_REQUIRED"), "axe-core is never skipped here: see .ci/run"
        pytest.skip("no axe-core: npm install axe-core, and name axe.min.js in AXE_CORE")
    for scheme in ("light", "dark"):
        for width in (1440, 390):
            browser = profile(
                color_scheme=scheme,
                viewport={"width": width, "height": 900},
                reduced_motion="reduce",
                bypass_csp=True,
            )
            page = browser.page(site.base)
            page.evaluate(AXE.read_text(encoding="utf-8") + "\n;undefined")
            state(page)
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
            found = page.evaluate(
                """async (tags) => {
                  const { violations } = await axe.run(document, { runOnly: tags });
                  const shown = (one) => one.nodes.map((node) => node.html.slice(0, 200)).join(" | ");
                  return violations.map((one) => `${one.impact} ${one.id}: ${shown(one)}`);
                }""",
                tags,
            )
            assert found == [], (scheme, width)


SHIFTS = """
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const one of list.getEntries())
      if (!one.hadRecentInput)
        window.shifts.push([one.value, ...one.sources.map((s) => s.node?.className ?? s.node?.nodeName)]);
  }).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("width", [1440, 820, 390])
def test_nothing_moves_while_an_answer_comes(site: Server, profile: Profile, width: int) -> None:
    browser = profile(viewport={"width": width, "height": 844})
    for name in ("l-e", "l-0", "l-1", "l-2"):
        (site.home / "go" / name).unlink(missing_ok=True)
    page = browser.page(site.base)
    expect(page.locator(".holdings a")).to_be_visible()
    turn = ask(page, "Slowly?")
    page.wait_for_timeout(700)  # what moves within half a second of a key press is not counted as a shift
    page.evaluate(SHIFTS)
    page.evaluate("window.shifts.length = 0")
    site.go("l-e")
    expect(turn.locator(".looked .all")).to_be_visible()
    for name, count in (("l-0", 1), ("l-1", 2)):
        site.go(name)
        expect(turn.locator(".sentence")).to_have_count(count)
    site.go("l-2")
    finished(turn)
    page.wait_for_timeout(100)
    assert page.evaluate("window.shifts") == []


def test_on_a_narrow_screen_the_source_covers_and_back_uncovers(site: Server, profile: Profile) -> None:
    page = profile(viewport={"width": 360, "height": 740}, has_touch=True).page(site.base)
    turn = ask(page, "Zurich?")
    finished(turn)
    expect(page.locator("#source")).to_be_hidden()
    note = turn.locator(".note").first
    note.tap()
    box = page.locator("#source").bounding_box()
    assert box == {"x": 0, "y": 0, "width": 360, "height": 740}
    assert page.evaluate("document.querySelector('main').inert") is True
    page.go_back()
    expect(page.locator("#source")).to_be_hidden()
    expect(turn).to_be_visible()
    expect(note).to_be_focused()
    note.tap()
    page.get_by_role("button", name="Close the source").tap()
    expect(page.locator("#source")).to_be_hidden()
    assert page.evaluate("document.querySelector('main').inert") is False


def test_on_a_narrow_screen_the_sources_make_room_for_the_answer(site: Server, profile: Profile) -> None:
    names = ("l-e", "l-0", "l-1", "l-2")
    for name in names:
        (site.home / "go" / name).unlink(missing_ok=True)
    page = profile(viewport={"width": 390, "height": 844}).page(site.base)
    turn = ask(page, "Slowly?")
    site.go("l-e")
    peeked = turn.locator(".peek li button")
    expect(peeked).to_have_count(3)
    expect(turn.locator(".pending")).to_contain_text("The answer is being written and checked")
    peeked.first.focus()
    site.go("l-0")
    expect(turn.locator(".sentence")).to_have_count(1)
    expect(turn.locator(".peek")).to_be_hidden()
    expect(turn.locator(".looked .all")).to_be_focused()
    for name in names:
        site.go(name)
    finished(turn)
    expect(turn.locator(".peek")).to_be_hidden()
    turn.locator(".looked .all").click()
    expect(page.locator("#source .card").first).to_be_visible()


@pytest.mark.parametrize("width", [320, 360, 390, 768, 820, 1440, 2560])
def test_nothing_is_wider_than_the_screen(site: Server, profile: Profile, width: int) -> None:
    site.add("W" * 200 + "ürich.txt", f"{'Langwort' * 40} stands in it, and {'😀' * 90}.\n")
    page = profile(viewport={"width": width, "height": 800}).page(site.base)
    finished(ask(page, "Langwort" * 40 + "?"))
    finished(ask(page, "Zurich?" if width > 320 else "متى؟"))
    for view in ("Conversations", "Documents", "Evaluations", "Ask"):
        page.get_by_role("link", name=view, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    page.locator(".note").first.click()
    expect(page.locator("#source mark.active")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('.scroller').scrollWidth") <= width


def test_arabic_runs_from_right_to_left(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    turn = ask(page, "متى؟")
    finished(turn)
    for part in (".question", ".answer", ".footnote"):
        assert turn.locator(part).evaluate("(node) => getComputedStyle(node).direction") == "rtl"
    # The number stands after the sentence: to its left.
    note = turn.locator(".note").bounding_box()
    answer = turn.locator(".sentence").bounding_box()
    assert note is not None
    assert answer is not None
    assert note["x"] < answer["x"] + answer["width"] / 2
    turn.locator(".note").click()
    mark = page.locator("#source mark.active")
    expect(mark).to_be_visible()
    right = mark.evaluate(
        "(m) => m.closest('.text').getBoundingClientRect().right - m.getBoundingClientRect().right"
    )
    assert right < 3


def test_who_wants_no_motion_gets_none(site: Server, profile: Profile) -> None:
    page = profile(reduced_motion="reduce").page(site.base)
    turn = ask(page, "Zurich?")
    finished(turn)
    moving = "[...document.querySelectorAll('*')].filter((n) => n.getAnimations().length).length"
    assert page.evaluate(moving) == 0
    assert turn.locator(".sentence").first.evaluate("(n) => getComputedStyle(n).animationName") == "none"
