"""Debian's chromium before a scripted server: the fixtures of the tests of the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect.set_options(timeout=30_000)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """One scripted server over one home; it can be killed and started again at the same address."""

    home: Path
    key: str | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    documents: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.port = self.port or free_port()
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "go").mkdir(exist_ok=True)
        if not (self.home / "script.json").exists():
            self.script({})
        command = [
            sys.executable,
            str(Path(__file__).with_name("page_server.py")),
            str(self.home),
            str(self.port),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
        self.process = subprocess.Popen([*command, *([self.key] if self.key else [])], env=environment)
        for _ in range(1200):
            assert self.process.poll() is None, "the server has ended"
            try:
                if httpx2.get(f"{self.base}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        """As a crash would: nothing is said to anybody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def script(self, answers: dict[str, Any]) -> None:
        new = self.home / "script.new"
        new.write_text(json.dumps(answers), encoding="utf-8")
        new.replace(self.home / "script.json")

    def go(self, name: str) -> None:
        (self.home / "go" / name).touch()

    def asked(self) -> list[dict[str, Any]]:
        """What the pipeline was asked so far."""
        path = self.home / "asked.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def add(self, name: str, text: str) -> str:
        """The id of a document that was uploaded."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        response = httpx2.post(
            f"{self.base}/api/documents",
            files=[("files", (name, text.encode()))],
            headers=headers,
            timeout=240,
        )
        (result,) = response.json()["results"]
        assert result["error"] is None, result
        return str(result["document"]["id"])


@contextmanager
def served(home: Path, key: str | None = None) -> Iterator[Server]:
    server = Server(home, key)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        assert not os.environ.get("BROWSER_REQUIRED"), "never skipped here: install chromium"
        pytest.skip("no chromium found: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not kill it. Each adds documents and a script of its own."""
    with served(tmp_path_factory.mktemp("page") / "home") as started:
        yield started


@dataclass
class Watched:
    """A browser profile of its own, with what it asked for and what went wrong in it."""

    context: BrowserContext
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def page(self, address: str) -> Page:
        """A tab with the page, once it works."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        return page


Profile = Callable[..., Watched]


@pytest.fixture
def profile(chromium: Browser) -> Iterator[Profile]:
    """Makes fresh profiles; afterwards none may have had an error in a script."""
    made: list[Watched] = []

    def make(**options: Any) -> Watched:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        watched = Watched(context)
        context.on("request", lambda request: watched.requests.append(request.url))
        made.append(watched)
        return watched

    yield make
    for watched in made:
        watched.context.close()
    assert [error for watched in made for error in watched.errors] == []


def ask(page: Page, question: str) -> Any:
    """Types a question, sends it, and gives back its article."""
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    return page.locator("article.turn").last


def finished(turn: Any) -> None:
    expect(turn).to_have_attribute("aria-busy", "false")


def marked(page: Page) -> str:
    """The text of the active mark, as the browser selects it."""
    return str(
        page.evaluate(
            """() => {
              const marks = [...document.querySelectorAll("#source mark.active")];
              return marks.map((mark) => mark.textContent).join("");
            }"""
        )
    )
