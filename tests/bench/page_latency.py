"""From the Enter key to the first source on the page: eleven questions and their median, in milliseconds.

    footnote serve --port 8000 & python tests/bench/page_latency.py http://127.0.0.1:8000 seeds/gold.jsonl

The page is idle before each question and shows an empty conversation. Beside it stands how much of it the
server took until its first byte, as the browser saw it.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from page_browser import CHROMIUM, FLAGS
from playwright.sync_api import Page, sync_playwright

TIMES = 11
WATCH = """() => {
  document.getElementById("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    performance.clearResourceTimings();
    window.began = performance.now();
    window.shown = 0;
  }, { capture: true });
  new MutationObserver(() => {
    if (!window.began || window.shown || !document.querySelector("#source .card")) return;
    requestAnimationFrame(() => requestAnimationFrame(() => { window.shown ||= performance.now(); }));
  }).observe(document.body, { childList: true, subtree: true });
}"""
TOOK = """async () => {
  while (!window.shown) await new Promise((resolve) => setTimeout(resolve, 10));
  return window.shown - window.began;
}"""
SERVER = """async () => {
  for (;;) {
    const found = performance.getEntriesByType("resource").find((one) => one.name.endsWith("/api/ask"));
    if (found) return found.responseStart - found.requestStart;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}"""


def measured(page: Page, question: str) -> tuple[float, float]:
    """The whole, and the server's share. The answer is stopped, so that the next question finds all idle."""
    page.get_by_label("Your question").fill(question)
    page.wait_for_timeout(300)
    page.keyboard.press("Enter")
    whole = float(page.evaluate(TOOK))
    page.get_by_role("button", name="Stop").click()
    server = float(page.evaluate(SERVER))
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_timeout(700)
    return whole, server


def main(base: str, gold: Path) -> None:
    lines = gold.read_text(encoding="utf-8").splitlines()
    questions = [one["question"] for one in map(json.loads, lines) if not one.get("history")][:TIMES]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(base)
        page.wait_for_selector("html[data-ready]")
        page.evaluate(WATCH)
        measured(page, questions[-1])  # the first question warms the server up
        found = [measured(page, question) for question in questions]
        browser.close()
    for question, (whole, server) in zip(questions, found, strict=True):
        print(f"{whole:7.0f} {server:7.0f}  {question}")
    wholes, servers = zip(*found, strict=True)
    print(f"{statistics.median(wholes):7.0f} {statistics.median(servers):7.0f}  median")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
