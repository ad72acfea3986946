"""What documents, models and people write is data: nothing of it runs, loads or leaves, reloaded or not."""

from __future__ import annotations

import pytest
from page_browser import Profile, Server, ask, finished
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

HOSTILE = [
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "<script>window.pwned=1</script>",
    "javascript:window.pwned=1",
    "[click](javascript:window.pwned=1)",
    "![picture](http://192.0.2.1/leak.png)",
    "<a href=javascript:window.pwned=1>here</a>",
    "<iframe src=http://192.0.2.1/></iframe>",
    "<style>body{background:url(http://192.0.2.1/)}</style>",
    "<base href=http://192.0.2.1/><form action=http://192.0.2.1/><input>",
    "{{7*7}}${7*7}<!--",
    "</noscript></textarea></title><img src=http://192.0.2.1/ onerror=window.pwned=1>",
]
ROOTS = ("#ask", "#source", "#documents", "#conversations", "#notices")
PASSAGE = "Hostile words: " + " ".join(HOSTILE) + " end here."


def nothing_ran(page: Page) -> None:
    assert page.evaluate("window.pwned") is None
    for forbidden in ("img", "script", "iframe", "style", "svg", "base", "object", "[onerror]", "[onload]"):
        found = page.evaluate(
            "(selectors) => document.querySelectorAll(selectors).length",
            ", ".join(f"{root} {forbidden}" for root in ROOTS),
        )
        assert found == 0, forbidden
    links = page.evaluate("[...document.links].map((link) => link.protocol)")
    assert set(links) <= {"http:"}


def test_hostile_text_everywhere(site: Server, profile: Profile) -> None:
    name = "'><img src=x onerror=window.pwned=1>.txt"
    id = site.add(name, PASSAGE + "\n\nA second paragraph <b>bold</b> & more.\n")
    said = f"He said {' and '.join(HOSTILE)} too."
    question = f"What of {HOSTILE[0]} {HOSTILE[1]}?"
    site.script(
        {
            question: {
                "sentences": [
                    {"text": said, "cites": [PASSAGE]},
                    {"text": f"Also {HOSTILE[2]}.", "cites": ["A second paragraph <b>bold</b> & more."]},
                ],
                "withheld": [[HOSTILE[3], HOSTILE[0]], [HOSTILE[5], HOSTILE[1]]],
                "holds": {"1": "xss-1"},
            },
            f"Refuse {HOSTILE[1]}": {"reason": HOSTILE[0]},
        }
    )
    browser = profile()
    page = browser.page(site.base)
    turn = ask(page, question)
    expect(turn.locator(".sentence")).to_have_count(1)
    expect(turn.locator(".sentence")).to_contain_text(said[:200])
    nothing_ran(page)
    site.go("xss-1")
    finished(turn)
    turn.locator(".withheld summary").click()
    turn.locator(".note").first.click()
    expect(page.locator("#source mark.active").first).to_be_visible()
    assert page.locator("#source mark.active").all_text_contents() == [PASSAGE]
    nothing_ran(page)
    finished(ask(page, f"Refuse {HOSTILE[1]}"))
    nothing_ran(page)
    page.reload()
    expect(page.locator("article.turn")).to_have_count(2)
    expect(page.locator(".question").first).to_have_text(question)
    nothing_ran(page)
    for view in ("Conversations", "Documents"):
        page.get_by_role("link", name=view).click()
        expect(page.locator(f"#{view.lower()} .row").first).to_be_visible()
        nothing_ran(page)
    page.get_by_label("Search").fill(HOSTILE[0])
    expect(page.locator("#documents .nothing, #documents .row").first).to_be_visible()
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="Delete").first.click()
    page.get_by_role("button", name="Undo").click()
    nothing_ran(page)
    page.goto(f"{site.base}/documents/{id}?start=0&end={len(PASSAGE)}")
    expect(page.locator("#source mark.active").first).to_be_visible()
    nothing_ran(page)
    outside = [url for url in browser.requests if not url.startswith((site.base, "data:", "blob:"))]
    assert outside == []


def test_hostile_addresses(site: Server, profile: Profile) -> None:
    browser = profile()
    for path in (
        "/documents/%3Cimg%20src=x%20onerror=window.pwned=1%3E?start=0&end=5",
        "/documents/javascript:alert(1)",
        "/documents/none?start=-5&end=1e99",
        "/documents/none?start=<svg>&end=9",
        "/#conversation=<img src=x onerror=window.pwned=1>",
        "/#__proto__",
        "/#conversation=",
    ):
        page = browser.context.new_page()
        page.goto(site.base + path)
        assert page.evaluate("window.pwned") is None
        page.close()
    assert [url for url in browser.requests if not url.startswith(site.base)] == []


def test_no_script_of_another_can_be_put_in(site: Server, profile: Profile) -> None:
    page = profile().page(site.base)
    refused = page.evaluate(
        """() => new Promise((resolve) => {
          const refused = [];
          addEventListener("securitypolicyviolation", (event) => {
            refused.push(event.effectiveDirective);
            if (refused.length === 3) resolve(refused.sort());
          });
          const script = document.createElement("script");
          script.textContent = "window.pwned = 1";
          document.body.append(script);
          const image = document.createElement("img");
          image.src = "http://192.0.2.1/leak.png";
          document.body.append(image);
          const style = document.createElement("style");
          style.textContent = "body { color: red }";
          document.body.append(style);
        })"""
    )
    assert refused == ["img-src", "script-src-elem", "style-src-elem"]
    assert page.evaluate("window.pwned") is None
