"""Reading while the person reads: a section is read in the background, until the next question comes."""

from __future__ import annotations

import contextlib
import threading

from index.errors import FootnoteError
from rag.types import Generator, Prompt


class ReadAhead:
    """Reads one prompt at a time in a thread of its own. `begin` and `stop` are for one caller's thread.

    An error is not reported: a reading only saves time, and the next question meets what is wrong itself.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._thread: threading.Thread | None = None
        self._unwanted = threading.Event()
        self._prompt: Prompt | None = None
        self._done = False

    def begin(self, prompt: Prompt) -> None:
        """Start to read, in place of what was being read."""
        self.stop()
        self._prompt = prompt
        self._done = False
        self._unwanted.clear()
        self._thread = threading.Thread(target=self._read, args=(prompt,), name="read-ahead")
        self._thread.start()

    def hush(self) -> None:
        """Have it stop soon, without waiting for it; from any thread. `stop` is still to be called."""
        self._unwanted.set()

    def stop(self) -> Prompt | None:
        """Stop reading, wait until it has stopped, and return the prompt that was not finished, if any."""
        if self._thread is None:
            return None
        self._unwanted.set()
        # Ctrl-C may have struck while it was being started. If it still starts, it finds itself unwanted.
        if self._thread.is_alive():
            self._thread.join()
        self._thread = None
        return None if self._done else self._prompt

    def wait(self) -> None:
        """Until what has begun is read."""
        if self._thread is not None:
            self._thread.join()

    def _read(self, prompt: Prompt) -> None:
        with contextlib.suppress(FootnoteError):
            self._done = self._generator.read(prompt, self._unwanted.is_set)
