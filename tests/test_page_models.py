"""The page before the real embedder and the real model: one journey, from a file to the marked words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from page_browser import Profile, ask, finished, free_port, marked
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.models]

SEED = Path(__file__).parent.parent / "seeds" / "000_ca632847ae230c67.txt"


@pytest.fixture
def address(tmp_path: Path, models_home: Path) -> Iterator[str]:
    """The address of `footnote serve` with the default models and an empty collection."""
    home = tmp_path / "real"
    home.mkdir()
    (home / "models").symlink_to(models_home / "models")
    port = free_port()
    command = [sys.executable, "-m", "server", "serve", "--port", str(port), "--offline"]
    process = subprocess.Popen(command, env={**os.environ, "FOOTNOTE_HOME": str(home)})
    try:
        found = f"http://127.0.0.1:{port}"
        for _ in range(2400):
            assert process.poll() is None, "the server has ended"
            try:
                if httpx2.get(f"{found}/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait(60)


def test_from_a_file_to_the_marked_words(address: str, profile: Profile) -> None:
    page = profile().page(f"{address}/#documents")
    page.locator("#files").set_input_files(SEED)
    expect(page.locator('.uploads [data-state="added"]')).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Ask", exact=True).click()
    page.evaluate(
        """() => {
          window.began = performance.now();
          new MutationObserver((_, watcher) => {
            if (!document.querySelector("#source .card")) return;
            window.sources = performance.now() - window.began;
            watcher.disconnect();
          }).observe(document.body, { childList: true, subtree: true });
        }"""
    )
    turn = ask(page, "Where was the Russian president speaking?")
    expect(page.locator("#source .card").first).to_be_visible()
    expect(turn).to_have_attribute("aria-busy", "false", timeout=180_000)
    print(f"sources after {page.evaluate('window.sources'):.0f} ms")
    expect(turn.locator(".sentence")).not_to_have_count(0)
    turn.locator(".note").first.click()
    expect(page.locator("#source mark.active").first).to_be_visible()
    text = SEED.read_text(encoding="utf-8")
    assert marked(page) in text
    assert "Kazan" in marked(page)
    follow_up = ask(page, "What does a ticket to the summit cost?")
    expect(follow_up).to_have_attribute("aria-busy", "false", timeout=180_000)
    finished(follow_up)
    expect(follow_up.locator(".refusal")).to_be_visible()
