"""Reading uploaded files in a process that may be killed, within bounds of time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from index.errors import (
    DocumentError,
    EmptyDocument,
    EncryptedDocument,
    MislabelledDocument,
    ScannedDocument,
    UnreadableDocument,
    UnsupportedFormat,
)
from index.types import Block, Document, Page
from server.errors import NotReady, Stopping

MEMORY_BYTES = 1024**3
"""Address space of the process that reads one file."""

MOST_ANSWER_BYTES = 128 * 1024**2
"""Of a document as JSON: its text, and where its blocks and pages are."""

GRACE_S = 2.0
"""The fork that reads a file ends itself in time. Where it does not, all are ended so much later."""

_ERRORS = {
    error.code: error
    for error in (
        DocumentError,
        EmptyDocument,
        EncryptedDocument,
        MislabelledDocument,
        ScannedDocument,
        UnreadableDocument,
        UnsupportedFormat,
    )
}
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from server.parse_worker import run; run()"
)
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy's threads would count as memory


class Parser:
    """Reads one file at a time; who comes meanwhile waits. Its process starts with the first file."""

    def __init__(self, *, seconds: float, memory_bytes: int = MEMORY_BYTES) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process that waits for files; None where there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def read(self, path: Path, *, name: str, uri: str, max_bytes: int) -> Document:
        """The document in a file. Raises DocumentError, also where time or memory end; Stopping, NotReady."""
        request = {
            "path": str(path),
            "name": name,
            "uri": uri,
            "max_bytes": max_bytes,
            "memory_bytes": self._memory_bytes,
            "seconds": self._seconds,
        }
        with self._turn:
            answer = self._ask(request)
        if answer is None:
            raise UnreadableDocument(
                f"{name} cannot be read within {self._seconds:g} s and "
                f"{self._memory_bytes // 1024**2:,} MiB of memory: divide it, or save it again."
            )
        if "error" in answer:
            raise _ERRORS.get(answer["error"], UnreadableDocument)(answer["message"])
        return _document(answer["document"])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        process = self._process
        if process is not None:
            _kill(process)
        with self._turn:
            self._end()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """None when the process died of the file, or was ended since it took too long."""
        process = self._running()
        too_late = threading.Event()

        def end() -> None:
            too_late.set()
            _kill(process)

        alarm = threading.Timer(self._seconds + GRACE_S, end)
        alarm.start()
        try:
            found = _exchange(process, request)
        finally:
            # It kills a process and not a request, so it has to be over before the process has another one.
            alarm.cancel()
            alarm.join()
        if found is None or too_late.is_set():
            self._end()
        if found is None and self._closed:
            raise Stopping("the server is being stopped: send the file again when it is back")
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise Stopping("the server is being stopped: send the file again when it is back")
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it was ended from outside while it had nothing to do
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _COMMAND, json.dumps(_module_path())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **_QUIET},
                    start_new_session=True,  # so that its forks can be killed with it
                )
            except OSError as error:
                raise NotReady(f"the process that reads files cannot be started: {error}") from error
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        process.wait()
        for end in (process.stdin, process.stdout):
            assert end is not None
            with contextlib.suppress(OSError):
                end.close()


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        size = int(process.stdout.readline(20) or b"-1")
        if not 0 < size <= MOST_ANSWER_BYTES:
            return None
        body = process.stdout.read(size)
        found: dict[str, Any] = json.loads(body)
        return found
    except (OSError, ValueError):
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """It and its forks: it leads a session of its own, so their group has its number."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _document(made: dict[str, Any]) -> Document:
    return Document(
        text=made["text"],
        uri=made["uri"],
        title=made["title"],
        media_type=made["media_type"],
        blocks=tuple(Block(*block) for block in made["blocks"]),
        pages=tuple(Page(*page) for page in made["pages"]),
        metadata=made["metadata"],
    )


def _module_path() -> list[str]:
    """The absolute entries of this process's path, and where this package lies."""
    root = str(Path(__file__).parent.parent.absolute())
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    return path if root in path else [root, *path]
