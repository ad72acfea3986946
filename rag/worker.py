"""The process that owns the llama.cpp model.

Requests arrive as JSON lines on standard input, events leave as JSON lines on standard output; each
carries the `id` of its request. A native abort, an out-of-memory kill or a hang ends this process and
no other. It ends when its input ends, at once, unless it was told to `leave` a reading behind.

    (at the start)  → {"event": "alive"}* then {"event": "ready", "context_tokens"}
                      or {"event": "failed", "code", "message"}
    {"op": "generate", "id", "prompt", "reading", "max_tokens", "temperature", "seed", "grammar"}
        → {"event": "step"}* {"event": "piece", "text"}* {"event": "done", "usage", "stop"}
    {"op": "choose", "id", "prompt", "reading", "choices"}
        → {"event": "step"}* {"event": "chosen", "scores", "usage"}
    {"op": "read", "id", "prompt", "reading"}               → {"event": "step"}* {"event": "read", "done"}
    {"op": "leave", "id", "prompt", "reading"}              the same, also when the input has ended; our
                                                            output ends at once
    {"op": "count", "id", "text"}                           → {"event": "count", "tokens"}
    {"op": "cancel", "id"}                                  that request stops within READ_STEP tokens

`prompt` is a Prompt's fields; `reading` is {"path", "key", "max_bytes"} or null. Any request may instead
end in {"event": "error", "code", "message"}. While there is work, {"event": "alive"} comes as often as was
asked for, so that a slow step can be told from a process that is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from index.errors import FootnoteError
from rag.errors import GenerationCancelled, WorkerFailed
from rag.readings import ReadingStore, claim, load_reading, write_reading
from rag.types import Prompt, Usage

if TYPE_CHECKING:
    from rag.llama import LlamaModel, Tokens

# How long a request in hand may take to notice that nobody is there any more.
ENDING_S = 1.0


class Cancellations:
    """Which requests are no longer wanted; set by the input thread, read while the model works."""

    def __init__(self) -> None:
        self._last = 0
        self._all = threading.Event()

    def cancel(self, request: int) -> None:
        """Ids rise, and one request is carried out at a time: what came before is past anyway."""
        self._last = max(self._last, request)

    def cancel_all(self) -> None:
        self._all.set()

    def wanted(self, request: int) -> bool:
        return request > self._last and not self._all.is_set()


class Output:
    """Events, one a line, from any thread. Once closed, or once nobody reads, they go nowhere."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True

    def emit(self, event: dict[str, Any]) -> None:
        with self._lock:
            if self._open:
                try:
                    self._stream.write(json.dumps(event).encode() + b"\n")
                    self._stream.flush()
                except OSError:
                    self._open = False

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._open = False
            self._stream.close()


class Pulse:
    """Says `alive` every `interval_s` seconds while there is work, whatever the model is stuck in."""

    def __init__(self, output: Output, interval_s: float) -> None:
        self._output = output
        self._interval_s = interval_s
        self._working = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name="pulse").start()

    def begin(self) -> None:
        self._working.set()

    def rest(self) -> None:
        self._working.clear()

    def _beat(self) -> None:
        while True:
            self._working.wait()
            self._output.emit({"event": "alive"})
            time.sleep(self._interval_s)


class Worker:
    """Carries out requests one at a time on one model."""

    def __init__(self, model: LlamaModel, output: Output, cancellations: Cancellations) -> None:
        self._model = model
        self._output = output
        self._cancellations = cancellations

    def run(self, requests: queue.Queue[dict[str, Any] | None], pulse: Pulse) -> None:
        while (request := requests.get()) is not None:
            number = int(request["id"])
            pulse.begin()
            try:
                answer = self._perform(request, number)
            except FootnoteError as error:
                answer = {"event": "error", "code": error.code, "message": str(error)}
            except Exception as error:  # whatever one request meets, the next one finds a worker
                self._model.forget()
                reason = " ".join(str(error).split()) or type(error).__name__
                message = f"the model process could not do this: {reason}; ask again"
                answer = {"event": "error", "code": WorkerFailed.code, "message": message}
            pulse.rest()
            self._output.emit({"id": number, **answer})

    def _perform(self, request: dict[str, Any], number: int) -> dict[str, Any]:
        """Carry out one request; its last event."""
        operation = request["op"]
        if operation == "count":
            return {"event": "count", "tokens": len(self._model.text_tokens(request["text"]))}
        if operation == "leave":
            _step_aside()
            return {"event": "read", "done": self._read(request, cancelled=lambda: False)}

        def cancelled() -> bool:
            # Asked before each step of the prompt, so it tells how far we are as well.
            self._output.emit({"id": number, "event": "step"})
            return not self._cancellations.wanted(number)

        if operation == "read":
            return {"event": "read", "done": self._read(request, cancelled)}
        prompt = self._model.prompt_tokens(Prompt(**request["prompt"]))
        self._take_up(prompt, request["reading"])
        if operation == "choose":
            kept = self._model.evaluate(prompt, cancelled)
            if kept is None:
                raise GenerationCancelled("the answer was no longer wanted")
            return {
                "event": "chosen",
                "scores": self._model.first_token_log_probabilities(request["choices"]),
                "usage": asdict(Usage(len(prompt.all), 0, kept)),
            }
        if operation == "generate":
            return self._generate(prompt, request, number, cancelled)
        raise ValueError(f"unknown operation {operation!r}")

    def _generate(
        self, prompt: Tokens, request: dict[str, Any], number: int, cancelled: Callable[[], bool]
    ) -> dict[str, Any]:
        for piece in self._model.generate(
            prompt,
            max_tokens=request["max_tokens"],
            temperature=request["temperature"],
            seed=request["seed"],
            grammar=request["grammar"],
            cancelled=cancelled,
        ):
            if piece.usage is not None:
                return {"event": "done", "usage": asdict(piece.usage), "stop": piece.stop}
            self._output.emit({"id": number, "event": "piece", "text": piece.text})
        raise AssertionError("a draft ends with its usage")

    def _take_up(self, prompt: Tokens, reading: dict[str, Any] | None) -> None:
        """Have the model hold the prompt's prefix if it is saved, and not held already."""
        if reading is None or self._model.holds(prompt) >= len(prompt.prefix):
            return
        path = Path(reading["path"])
        saved = load_reading(path, key=reading["key"], tokens=prompt.prefix)
        if saved is not None and not self._model.restore(saved):
            path.unlink(missing_ok=True)

    def _read(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> bool:
        """Read and save; whether nothing is left to do. False also while another process reads the same."""
        reading = request["reading"]
        prompt = replace(self._model.prompt_tokens(Prompt(**request["prompt"])), lead=(), rest=())
        path = Path(reading["path"])
        store = ReadingStore(path.parent, max_bytes=reading["max_bytes"])
        with claim(path) as claimed:
            if not claimed:
                return False
            self._take_up(prompt, reading)
            if self._model.evaluate(prompt, cancelled, logits=False) is None:
                return False
            if not path.exists():
                made = self._model.state(reading["key"])
                # One that is larger than the whole store would drive out all others, and then itself.
                if len(made.state) <= store.max_bytes:
                    write_reading(path, made)
        store.evict()
        return True


def _receive(
    source: Iterable[bytes],
    requests: queue.Queue[dict[str, Any] | None],
    cancellations: Cancellations,
    output: Output,
) -> None:
    """Take requests until the input ends, and see to it that the process ends then."""
    leaving = False
    try:
        for line in source:
            request = json.loads(line)
            if request["op"] == "cancel":
                cancellations.cancel(int(request["id"]))
                continue
            if request["op"] == "leave":
                leaving = True
                output.close()  # whoever asked need not wait any longer
            requests.put(request)
    finally:
        requests.put(None)
        if not leaving:
            cancellations.cancel_all()
            # The model may still be loading, or in a step that does not end.
            time.sleep(ENDING_S)
            os._exit(0)


def _private_output() -> BinaryIO:
    """Standard output kept for events: whatever native code prints goes to standard error."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return events


def _step_aside() -> None:
    """Run only where nobody else would, and outlive the terminal.

    Two models that share two cores at equal rights wait at each other's thread barriers and take many
    times as long as one after the other.
    """
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has idle scheduling
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setsid()


def main(arguments: list[str] | None = None) -> int:
    """Serve until the input ends; the exit code."""
    parser = argparse.ArgumentParser(prog="footnote worker", allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--pulse", type=float, required=True, help="seconds between signs of life")
    options = parser.parse_args(arguments)
    # Ctrl-C in a terminal reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The memory of a crashed model is gigabytes, and tells nobody anything.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = Output(_private_output())
    pulse = Pulse(output, options.pulse)
    pulse.begin()
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancellations = Cancellations()
    threading.Thread(
        target=_receive,
        args=(sys.stdin.buffer, requests, cancellations, output),
        daemon=True,
        name="requests",
    ).start()
    # Imported only here, since it takes a while: by now we are seen to be alive.
    from rag.llama import LlamaModel

    try:
        model = LlamaModel(options.model, context_tokens=options.context, threads=options.threads)
    except FootnoteError as error:
        output.emit({"event": "failed", "code": error.code, "message": str(error)})
        return error.exit_code
    pulse.rest()
    output.emit({"event": "ready", "context_tokens": model.context_tokens})
    Worker(model, output, cancellations).run(requests, pulse)
    return 0


def run() -> None:
    """`main`, and then the end: exit handlers of native libraries have nothing left to do here."""
    code = 1
    try:
        code = main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    run()
