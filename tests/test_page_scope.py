"""A question is kept to a folder, a tag or a document: chosen under the question, told with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from page_browser import Profile, Server, ask, finished
from playwright.sync_api import Page, expect

from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.readers import read_bytes

pytestmark = pytest.mark.browser

FILES = {
    "/home/me/letters/ada.md": "---\ntags: [steel]\n---\nThe bridge of Brenz is of steel.\n",
    "/home/me/letters/2024/bo.md": "The bridge of Brenz is red.\n",
    "/home/me/recipes/soup.md": "---\ntags: [<b>soup</b>]\n---\nThe bridge of Brenz is near the inn.\n",
}
QUESTION = "What of the bridge of Brenz?"


@pytest.fixture
def page(site: Server, profile: Profile) -> Page:
    with LocalCollection.open(site.home / "collections" / "default", HashEmbedder()) as collection:
        for path, text in FILES.items():
            document = read_bytes(text.encode(), name=path, uri=f"file://{path}")
            collection.put(document, document.uri, "x", 1, 1, "1")
    site.script({})
    opened: Page = profile().page(site.base)
    return opened


def choose(page: Page, group: str, name: str, words: str = "") -> None:
    page.locator(".scope summary").click()
    page.get_by_label("Ask only in").fill(words)
    page.get_by_role("region", name=group).get_by_role("button", name=name, exact=False).first.click()


def asked(page: Page) -> tuple[Any, Any]:
    """The filters that went to the server, and the turn."""
    with page.expect_request("**/api/ask") as sent:
        turn = ask(page, QUESTION)
    finished(turn)
    return sent.value.post_data_json["filters"], turn


def test_a_question_goes_to_all_documents_until_something_is_chosen(page: Page) -> None:
    assert asked(page)[0] is None
    choose(page, "Folders", "/home/me/letters", "letters")
    expect(page.locator(".scope summary")).to_have_text("Only in letters")
    filters, turn = asked(page)
    assert filters == {"paths": ["/home/me/letters"]}
    expect(turn.locator(".actions .facts")).to_contain_text("only in letters")
    expect(page.locator("#source")).to_contain_text("of steel")
    expect(page.locator("#source")).not_to_contain_text("the inn")
    with page.expect_request("**/api/ask") as sent:
        turn.get_by_role("button", name="Ask again").click()
    assert sent.value.post_data_json["filters"] == filters
    page.locator(".scope summary").click()
    page.locator(".scopes").get_by_role("button", name="All documents").click()
    assert asked(page)[0] is None


def test_tags_and_documents_can_be_chosen_and_are_only_text(page: Page) -> None:
    choose(page, "Tags", "<b>soup</b>", "SOUP")
    assert asked(page)[0] == {"tags": ["<b>soup</b>"]}
    choose(page, "Documents", "bo", "bo")
    filters, _ = asked(page)
    assert filters == {"paths": ["file:///home/me/letters/2024/bo.md"]}
    page.reload()
    expect(page.locator("article.turn").last.locator(".actions .facts")).to_contain_text("only in bo")


def test_it_is_worked_with_the_keyboard(page: Page) -> None:
    summary = page.locator(".scope summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Ask only in")).to_be_focused()
    page.keyboard.type("nothing is called so")
    expect(page.locator(".scopes")).to_have_text("Nothing is called so.")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Ask only in")).to_be_hidden()
    expect(summary).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Ask only in")).to_be_focused()
    page.keyboard.type("recipes")
    expect(page.locator(".scopes button")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(summary).to_have_text("Only in recipes")
    expect(summary).to_be_focused()
    expect(page.locator("article.turn")).to_have_count(0)  # it was no question


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_whatever_the_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.locator(".scope summary").click()
    expect(page.locator(".scopes section").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator(".scope-panel").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_a_click_elsewhere_closes_it_and_a_server_that_is_gone_is_said(page: Page) -> None:
    page.route("**/api/scopes*", lambda route: route.abort())
    page.locator(".scope summary").click()
    expect(page.locator(".scopes [role=alert]")).to_contain_text("cannot be reached")
    page.get_by_label("Your question").click()
    expect(page.get_by_label("Ask only in")).to_be_hidden()
