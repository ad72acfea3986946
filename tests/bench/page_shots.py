"""Pictures of the page in each of its states, at three widths, light and dark: to be looked at.

python tests/bench/page_shots.py FOLDER [STATE…]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from page_browser import CHROMIUM, FLAGS, Server, ask, finished, served
from playwright.sync_api import Page, sync_playwright
from test_page_focus import busy as too_many
from test_page_served import write_run

SEED = Path(__file__).parent.parent.parent / "seeds" / "000_ca632847ae230c67.txt"
WIDTHS = {390: 844, 820: 1180, 1440: 900}
ZOO = (
    "The zoo of Basel opened in 1874. It keeps a herd of elephants.\n\n"
    "Flamingos breed there every spring. The oldest flamingo is 61 years old.\n"
)
ARABIC = "افتتحت حديقة الحيوان في بازل عام 1874. تضم قطيعا من الفيلة.\n"
LONG = "The reports of the harbour master of Rotterdam, 1869 to 1913, with appendices and corrections"
SCRIPT: dict[str, Any] = {
    "How old is the oldest flamingo in Basel, and when did the zoo open?": {
        "sentences": [
            {"text": "The zoo of Basel opened in 1874.", "cites": ["The zoo of Basel opened in 1874."]},
            {
                "text": "Its oldest flamingo is 61 years old, and flamingos breed there every spring.",
                "cites": ["Flamingos breed there every spring.", "The oldest flamingo is 61 years old."],
                "score": 0.84,
            },
        ],
        "withheld": [["It has 40 elephants.", "the number 40 stands nowhere in its source"]],
        "holds": {},
    },
    "And does it keep elephants?": {
        "sentences": [
            {"text": "Yes, it keeps a herd of elephants.", "cites": ["It keeps a herd of elephants."]}
        ]
    },
    "What does a ticket cost?": {"reason": "the documents do not seem to state it"},
    "متى افتتحت حديقة الحيوان في بازل؟": {
        "sentences": [
            {
                "text": "افتتحت حديقة الحيوان في بازل عام 1874.",
                "cites": ["افتتحت حديقة الحيوان في بازل عام 1874."],
            }
        ]
    },
    "What is not found yet?": {"holds": {"evidence": "never"}},
    "When did the zoo open?": {
        "sentences": [
            {"text": "The zoo of Basel opened in 1874.", "cites": ["The zoo of Basel opened in 1874."]}
        ],
        "holds": {"0": "never"},
    },
    "What is being read?": {
        "sentences": [
            {"text": "The zoo of Basel opened in 1874.", "cites": ["The zoo of Basel opened in 1874."]},
            {"text": "It keeps a herd of elephants.", "cites": ["It keeps a herd of elephants."]},
        ],
        "holds": {"1": "never"},
    },
}
QUESTIONS = list(SCRIPT)


def welcome(page: Page, _: Server) -> None:
    page.wait_for_selector(".holdings a")


def found(page: Page, _: Server) -> None:
    ask(page, "When did the zoo open?")
    page.wait_for_selector(".pending .words")


def streaming(page: Page, _: Server) -> None:
    ask(page, "What is being read?")
    page.wait_for_selector(".sentence")


def answered(page: Page, _: Server) -> None:
    finished(ask(page, QUESTIONS[0]))


def source(page: Page, server: Server) -> None:
    answered(page, server)
    page.locator(".note").nth(1).click()
    page.wait_for_selector("mark.active")


def follow_up(page: Page, server: Server) -> None:
    answered(page, server)
    finished(ask(page, QUESTIONS[1]))
    page.locator(".withheld summary").first.click()
    page.evaluate("scrollTo(0, 0)")


def refused(page: Page, _: Server) -> None:
    finished(ask(page, QUESTIONS[2]))


def arabic(page: Page, _: Server) -> None:
    finished(ask(page, QUESTIONS[3]))
    page.locator(".note").first.click()
    page.wait_for_selector("mark.active")


def failed(page: Page, _: Server) -> None:
    page.route("**/api/ask", lambda route: route.abort())
    finished(ask(page, QUESTIONS[0]))


def busy(page: Page, _: Server) -> None:
    page.route("**/api/ask", too_many)
    finished(ask(page, QUESTIONS[0]))


def linked(page: Page, server: Server) -> None:
    page.goto(f"{server.base}/documents/{server.documents['seed']}?start=3000&end=3300")
    page.wait_for_selector("mark.active")


def documents(page: Page, server: Server) -> None:
    page.goto(f"{server.base}/#documents")
    page.wait_for_selector("#documents .row")
    page.locator("#files").set_input_files(
        [
            {"name": "notes on flamingos.md", "mimeType": "text/markdown", "buffer": b"# Notes\n\nPink.\n"},
            {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"no pdf"},
        ]
    )
    page.wait_for_selector('.uploads [data-state="failed"]')


def conversations(page: Page, server: Server) -> None:
    answered(page, server)
    page.get_by_role("button", name="New conversation").click()
    refused(page, server)
    page.get_by_role("link", name="Conversations").click()
    page.wait_for_selector("#conversations .row")


def waiting(page: Page, _: Server) -> None:
    ask(page, "What is not found yet?")
    page.wait_for_timeout(300)


def hovered(page: Page, _: Server) -> None:
    finished(ask(page, QUESTIONS[0]))
    page.locator(".note").nth(1).focus()


def all_sources(page: Page, _: Server) -> None:
    finished(ask(page, QUESTIONS[0]))
    page.locator(".looked .all").click()


def pasting(page: Page, server: Server) -> None:
    server.add("zoo.txt", ZOO)  # the page before has deleted it when it was closed
    page.goto(f"{server.base}/#documents")
    page.wait_for_selector("#documents .row")
    page.get_by_role("button", name="Paste text").click()
    page.get_by_role("button", name="Delete “zoo”").click()


def evaluations(page: Page, server: Server) -> None:
    page.goto(f"{server.base}/#evaluations")
    page.wait_for_selector("#evaluations .nothing, #evaluations .row")


STATES: list[Callable[[Page, Server], None]] = [
    welcome, found, streaming, answered, source, follow_up, refused, arabic, failed, busy, linked, documents,
    conversations, evaluations, waiting, hovered, all_sources, pasting,
]  # fmt: skip


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, served(Path(home)) as server, sync_playwright() as driver:
        server.script(SCRIPT)
        for name in ("gold", "squad-dev-300"):
            write_run(Path(home), name, models={"chat": {"name": "qwen2.5-coder-1.5b"}})
        server.add("zoo.txt", ZOO)
        server.add(f"{LONG}.txt", "Rotterdam has the largest port of Europe. Its cranes move containers.\n")
        server.add("بازل.txt", ARABIC)
        server.documents["seed"] = server.add("article.txt", SEED.read_text(encoding="utf-8"))
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for state in STATES:
            if wanted and state.__name__ not in wanted:
                continue
            for width, height in WIDTHS.items():
                for scheme in ("light", "dark"):
                    context = browser.new_context(
                        viewport={"width": width, "height": height},
                        color_scheme=scheme,  # type: ignore[arg-type]
                        reduced_motion="reduce",
                    )
                    page = context.new_page()
                    page.goto(server.base)
                    page.wait_for_selector("html[data-ready]")
                    state(page, server)
                    page.mouse.move(0, 0)
                    page.screenshot(path=folder / f"{state.__name__}-{width}-{scheme}.png")
                    context.close()
            print(state.__name__, flush=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
