"""The worker seen from outside: how it is started, lines in, lines out, and what its end means."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from index.errors import FootnoteError, ModelDamaged, ModelUnsuitable, UnknownModel
from rag.errors import GenerationCancelled, QuestionError, QuestionTooLong, WorkerFailed

# A worker that gives no sign for this long is stopped or starved to death: it gives one every few seconds.
SILENCE_LIMIT_S = 60.0
# One that is alive but gets nothing done for this long hangs: 64 tokens or a whole model take less anywhere.
STANDSTILL_LIMIT_S = 600.0
# How soon a question that is no longer wanted is let go.
POLL_S = 0.05
_STOP_LIMIT_S = 2.0
_LAST_WORDS_BYTES = 8192
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def worker_command(model: Path, *, context_tokens: int, threads: int, pulse_s: float) -> list[str]:
    """Starts `rag.worker` from any folder, with the modules that this process has and no others.

    `-m` would put the current folder first on the path, and a `json.py` in it in place of the real one.
    """
    start = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from rag.worker import run; run()"
    options = ["--model", str(model.absolute()), "--context", str(context_tokens)]
    options += ["--threads", str(threads), "--pulse", str(pulse_s)]
    return [sys.executable, "-P", "-c", start, json.dumps(_module_path()), *options]


def _module_path() -> list[str]:
    """This process's module path without the current folder, unless we ourselves were found there."""
    root = str(Path(__file__).parent.parent.absolute())
    here = None
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        here = os.getcwd()
    first = [entry for entry in sys.path[:1] if entry != here or entry == root]
    path = [entry for entry in first + sys.path[1:] if os.path.isabs(entry)]
    return path if root in path else [root, *path]


def given_cores() -> int:
    """Cores that this process may use: its affinity, and in a container the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def error_of(event: dict[str, Any]) -> FootnoteError:
    """The error that an event of the worker tells of."""
    known: tuple[type[FootnoteError], ...] = (
        GenerationCancelled,
        ModelDamaged,
        ModelUnsuitable,
        QuestionError,
        QuestionTooLong,
        UnknownModel,
    )
    kind = next((error for error in known if error.code == event["code"]), WorkerFailed)
    return kind(event["message"])


# OpenMP's threads wait for one another in a busy loop. On a machine with other work to do, a long loop
# holds the core that the awaited thread needs: with one busy process beside it, prompts were read at 79
# tokens a second after short loops and at 57 after the default ones; alone, both at 153.
_THREADING = {"GOMP_SPINCOUNT": "1000"}


class WorkerProcess:
    """One running worker. `receive` is for one thread at a time; `stop` for any, at any time."""

    def __init__(self, command: Sequence[str], *, silence_limit_s: float = SILENCE_LIMIT_S) -> None:
        self._silence_limit_s = silence_limit_s
        # A file cannot fill up and block as a pipe does, and what native code prints there is little.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                # After an abort ggml would start a debugger to print a backtrace, if one is installed.
                env={**_THREADING, **os.environ, "GGML_NO_BACKTRACE": "1"},
            )
        except OSError as error:
            self._complaints.close()
            raise WorkerFailed(f"the model process cannot be started: {error}") from error
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._sending = threading.Lock()
        self._signs = 0  # how often it was heard of
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        self._listener = threading.Thread(
            target=self._listen, args=(self._stdout,), daemon=True, name="worker-events"
        )
        self._listener.start()
        self.context_tokens = 0
        """Of the loaded model; 0 until it is loaded."""

    def _listen(self, source: IO[bytes]) -> None:
        # When what it says makes no sense it counts as ended, and is.
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            for line in source:
                event = json.loads(line)
                self._signs += 1
                if event["event"] != "alive":
                    self._events.put(event)
        self._events.put(None)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def send(self, request: dict[str, Any]) -> None:
        """Raises WorkerFailed when it has ended."""
        try:
            with self._sending:
                self._stdin.write(json.dumps(request).encode() + b"\n")
                self._stdin.flush()
        except (OSError, ValueError) as error:
            raise self.ended() from error

    def receive(self, cancelled: Callable[[], bool]) -> dict[str, Any]:
        """The next event that is not just a sign of life.

        Raises GenerationCancelled as soon as it is no longer wanted, and WorkerFailed when the process has
        ended, or is stopped or hangs and so is ended.
        """
        # Counted in our own looks, not by the clock: Ctrl-Z stops both of us, and neither is to blame.
        silence = standstill = 0.0
        signs = self._signs
        while not cancelled():
            try:
                event = self._events.get(timeout=POLL_S)
            except queue.Empty:
                standstill += POLL_S
                silence = silence + POLL_S if self._signs == signs else 0.0
                signs = self._signs
                if silence > self._silence_limit_s:
                    raise self._stuck(f"gave no sign of life for {self._silence_limit_s:g} s") from None
                if standstill > STANDSTILL_LIMIT_S:
                    raise self._stuck(f"got nothing done for {STANDSTILL_LIMIT_S:g} s") from None
                continue
            if event is None:
                self._events.put(None)  # for whoever asks after us
                raise self.ended()
            return event
        raise GenerationCancelled("the answer was no longer wanted")

    def _stuck(self, found: str) -> WorkerFailed:
        self._child.kill()
        self._child.wait()
        return WorkerFailed(f"the model process {found} and was ended; ask again")

    def ended(self) -> WorkerFailed:
        """What to raise once it has ended: how, and its last words."""
        try:
            code = self._child.wait(timeout=_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:  # it closed its end and lives on
            self._child.kill()
            code = self._child.wait()
        how, advice = f"ended with code {code}", "ask again"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                advice += ", and if memory ran out choose a smaller model with --model"
        words = self._last_words()
        return WorkerFailed(f"the model process {how}{f' ({words})' if words else ''}; {advice}")

    @property
    def crashed(self) -> bool:
        """Whether native code brought it down."""
        crashes = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE)
        return self._child.poll() in {-number for number in crashes}

    def _last_words(self) -> str:
        """The last line on its standard error."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._complaints.fileno()
            start = max(os.fstat(descriptor).st_size - _LAST_WORDS_BYTES, 0)
            # Not read(): the position in the file is shared with the child.
            text = os.pread(descriptor, _LAST_WORDS_BYTES, start).decode("utf-8", "replace")
            lines = [" ".join(line.split()) for line in text.splitlines()]
            return next((line for line in reversed(lines) if line), "")[:300]
        return ""

    def part(self) -> None:
        """Let it end by itself, after it was told to leave a reading behind."""
        self._close_input()
        # It closes its end as soon as it is told. Before that, closing ours would wait for the listener.
        self._listener.join(_STOP_LIMIT_S)
        if self._listener.is_alive():
            self.stop()
            return
        self._stdout.close()
        self._complaints.close()
        # Somebody has to take note of its end, or it stays in the list of processes until ours.
        threading.Thread(target=self._child.wait, daemon=True, name="worker-left").start()

    def stop(self) -> None:
        """End it, and leave nothing of it: no process, no thread, no open file."""
        self._close_input()
        try:
            self._child.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join()
        self._stdout.close()
        self._complaints.close()

    def _close_input(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stdin.close()
