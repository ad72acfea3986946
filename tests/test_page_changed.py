"""A footnote of before an edit: the page shows the words that were cited, and says that they have changed."""

from __future__ import annotations

import re

import pytest
from page_browser import Profile, Server, ask, finished, marked
from playwright.sync_api import expect
from small_collection import put

from index.collection import LocalCollection
from index.embed import HashEmbedder

pytestmark = pytest.mark.browser


def test_what_was_cited_before_an_edit_is_shown_as_it_was_and_said_to_have_changed(
    site: Server, profile: Profile
) -> None:
    def edited(text: str) -> str:
        with LocalCollection.open(site.home / "collections" / "default", HashEmbedder()) as collection:
            return put(collection, "kiln.txt", text)

    old = edited("The kiln of Sanssouci burned bricks until 1890.\n")
    cited = "The kiln of Sanssouci burned bricks until 1890."
    site.script({"And the kiln?": {"sentences": [{"text": "It burned bricks.", "cites": [cited]}]}})
    page = profile().page(site.base)
    turn = ask(page, "And the kiln?")
    finished(turn)
    new = edited("The kiln of Sanssouci burned bricks until 1891.\n")
    turn.get_by_role("button", name=re.compile("^Footnote 1:")).click()
    source = page.locator("#source")
    expect(source.locator(".changed")).to_contain_text("changed since it was cited: this is how it was")
    assert marked(page) == cited
    source.get_by_role("button", name="See what it says now").click()
    expect(source.locator(".text")).to_contain_text("until 1891")
    expect(source.locator(".changed")).to_have_count(0)
    page.goto(f"{site.base}/documents/{old}?start=0&end=8")
    expect(source.locator(".changed")).to_be_visible()
    assert marked(page) == "The kiln"
    page.goto(f"{site.base}/documents/{new}?start=0&end=8")
    expect(source.locator("mark.active")).to_have_text("The kiln")
    expect(source.locator(".changed")).to_have_count(0)
