"""Reading in the background: begun, cancelled, and never an error of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rag.ahead import ReadAhead
from rag.errors import WorkerFailed
from rag.generate import ExtractiveGenerator
from rag.types import Prompt

SECTION = Prompt("", "[1] A section.", document_id="d")
OTHER = Prompt("", "[1] Another.", document_id="d")


class Slow(ExtractiveGenerator):
    """Reads until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.asked: list[Prompt] = []

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        self.asked.append(prompt)
        self.begun.set()
        while not cancelled():
            threading.Event().wait(0.001)
        return False


def test_a_section_is_read_in_the_background() -> None:
    generator = ExtractiveGenerator()
    ahead = ReadAhead(generator)
    assert not generator.has_reading(SECTION)
    ahead.begin(SECTION)
    ahead.wait()
    assert generator.has_reading(SECTION)
    assert ahead.stop() is None


def test_stopping_cancels_and_tells_what_was_not_finished() -> None:
    generator = Slow()
    ahead = ReadAhead(generator)
    ahead.begin(SECTION)
    assert generator.begun.wait(10)
    assert ahead.stop() == SECTION
    assert ahead.stop() is None
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_a_new_section_takes_the_place_of_the_one_before() -> None:
    generator = Slow()
    ahead = ReadAhead(generator)
    ahead.begin(SECTION)
    assert generator.begun.wait(10)
    ahead.begin(OTHER)
    assert ahead.stop() == OTHER
    assert generator.asked == [SECTION, OTHER]


def test_an_error_is_left_for_the_next_question() -> None:
    class Failing(ExtractiveGenerator):
        def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
            raise WorkerFailed("it died")

    ahead = ReadAhead(Failing())
    ahead.begin(SECTION)
    ahead.wait()
    assert ahead.stop() == SECTION


def test_ctrl_c_while_it_is_started_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    ahead = ReadAhead(ExtractiveGenerator())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ahead.begin(SECTION)
    assert ahead.stop() == SECTION
