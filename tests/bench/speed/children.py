"""Processes that the bench starts and asks in JSON lines: bare llama.cpp, and the peers."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
LOADING_S = 300.0
ANSWER_S = 300.0


class ChildFailed(Exception):
    """It ended, or said nothing for too long; the message holds its last words."""


class Child:
    """One process: a line in, a line out. What it prints that is no JSON object is passed over."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("wb") as complaints:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def receive(self, within_s: float = ANSWER_S) -> dict[str, Any]:
        """Raises ChildFailed."""
        try:
            found = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise ChildFailed(f"said nothing for {within_s:.0f} s") from None
        if found is None:
            words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ChildFailed(f"ended: {words[-1][:200] if words else 'without a word'}")
        return found

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer, with how long it took under "wall". Raises ChildFailed."""
        assert self._process.stdin is not None
        began = time.perf_counter()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: `receive` says how
        return {**self.receive(), "wall": time.perf_counter() - began}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def child(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Started and ready: the first object that it prints is awaited. Raises ChildFailed."""
    started = Child(command, log=log, environment=environment)
    try:
        started.receive(LOADING_S)
        yield started
    finally:
        started.close()
