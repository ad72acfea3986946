"""The worker's side of the pipe, around a model that a test writes in a few lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from worker_fakes import fake_command, is_running, wait_for

from rag.readings import Reading, claim, load_reading, write_reading
from rag.worker import Cancellations, Output
from rag.worker_process import worker_command

PROMPT = {"instructions": "i", "context": "context", "question": "q"}
GENERATE = {"prompt": PROMPT, "reading": None, "max_tokens": 9, "temperature": 0, "seed": 0, "grammar": ""}
DONE = {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0}


class Talk:
    """A worker, what is sent to it, and what it says, without its signs of life."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child

    def send(self, **request: Any) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(request).encode() + b"\n")
        self.child.stdin.flush()

    def hang_up(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            event = json.loads(line)
            if event["event"] != "alive":
                yield event

    def until(self, event: str) -> list[dict[str, Any]]:
        """What it says up to the next event of this name, without steps."""
        found: list[dict[str, Any]] = []
        for said in self.lines():
            if said["event"] == event:
                return [*found, said]
            if said["event"] != "step":
                found.append(said)
        raise AssertionError(f"it ended after {found}")


@contextmanager
def worker(changes: str = "", command: list[str] | None = None, **options: Any) -> Iterator[Talk]:
    with subprocess.Popen(
        command or fake_command(changes),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as child:
        try:
            yield Talk(child)
        finally:
            child.kill()


def test_requests_and_events() -> None:
    with worker() as talk:
        assert talk.until("ready") == [{"event": "ready", "context_tokens": 512}]
        talk.send(op="count", id=1, text="héllo")
        assert talk.until("count") == [{"id": 1, "event": "count", "tokens": 6}]
        talk.send(op="generate", id=2, **GENERATE)
        assert talk.until("done") == [
            {"id": 2, "event": "piece", "text": "said"},
            {"id": 2, "event": "done", "usage": DONE, "stop": "end"},
        ]
        talk.send(op="choose", id=3, prompt=PROMPT, reading=None, choices=["Yes", "No"])
        usage = {"prompt_tokens": len(PROMPT["context"] + PROMPT["question"]), "completion_tokens": 0}
        assert talk.until("chosen") == [
            {"id": 3, "event": "chosen", "scores": [-1.0, -1.0], "usage": {**usage, "cached_tokens": 0}}
        ]
        talk.hang_up()
        assert list(talk.lines()) == []
        assert talk.child.wait() == 0


def test_what_else_is_printed_does_not_mix_with_events() -> None:
    noise = """
def text_tokens(self, text):
    print("from Python", flush=True)
    os.write(1, b"from the system\\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    return []
"""
    with worker(noise) as talk:
        talk.send(op="count", id=1, text="")
        assert talk.until("count")[-1] == {"id": 1, "event": "count", "tokens": 0}
        talk.hang_up()
        assert list(talk.lines()) == []
        assert talk.child.stderr is not None
        assert talk.child.stderr.read() == b"from Python\nfrom the system\nfrom C\n"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            "def text_tokens(self, text): raise RuntimeError('a\\nb')",
            "model_worker_failed",
            "the model process could not do this: a b; ask again",
        ),
        (
            "def text_tokens(self, text): raise MemoryError",
            "model_worker_failed",
            "the model process could not do this: MemoryError; ask again",
        ),
        (
            "def text_tokens(self, text):\n"
            "    from rag.errors import QuestionError\n"
            "    raise QuestionError('too long')",
            "invalid_question",
            "too long",
        ),
    ],
)
def test_a_request_that_fails_is_not_the_last(changes: str, code: str, message: str) -> None:
    with worker(changes) as talk:
        talk.send(op="count", id=1, text="")
        assert talk.until("error")[-1] == {"id": 1, "event": "error", "code": code, "message": message}
        talk.send(op="dance", id=2, prompt=PROMPT, reading=None)
        assert "unknown operation 'dance'" in talk.until("error")[-1]["message"]
        talk.send(op="generate", id=3, **GENERATE)
        assert talk.until("done")[-1]["stop"] == "end"


def test_nonsense_on_its_input_ends_it() -> None:
    with worker() as talk:
        talk.until("ready")
        assert talk.child.stdin is not None
        talk.child.stdin.write(b"nonsense\n")
        talk.child.stdin.flush()
        assert list(talk.lines()) == []
        assert talk.child.wait() == 0


@pytest.mark.parametrize(
    "stuck",
    [
        "def __init__(self, *_, **__): threading.Event().wait()",
        "def evaluate(self, tokens, cancelled, **_): cancelled(); threading.Event().wait()",
    ],
)
def test_it_ends_with_its_input_whatever_it_is_stuck_in(stuck: str) -> None:
    with worker(stuck) as talk:
        talk.send(op="choose", id=1, prompt=PROMPT, reading=None, choices=["Yes"])
        if "evaluate" in stuck:
            assert next(event for event in talk.lines() if event["event"] == "step")["id"] == 1
        talk.hang_up()
        assert talk.child.wait(timeout=60) == 0


SLOW_STEPS = """
def evaluate(self, tokens, cancelled, **_):
    while not cancelled():
        time.sleep(0.01)
"""


def test_it_stops_between_two_steps_when_its_input_ends_or_a_request_is_cancelled() -> None:
    with worker(SLOW_STEPS) as talk:
        talk.until("ready")
        talk.send(op="choose", id=1, prompt=PROMPT, reading=None, choices=["Yes"])
        talk.until("step")
        talk.send(op="cancel", id=1)
        assert talk.until("error")[-1]["code"] == "cancelled"
        talk.send(op="choose", id=2, prompt=PROMPT, reading=None, choices=["Yes"])
        talk.until("step")
        talk.hang_up()
        assert next(event for event in talk.lines() if event["event"] != "step")["code"] == "cancelled"
        assert talk.child.wait() == 0


def reading_at(path: Path, max_bytes: int = 10_000) -> dict[str, Any]:
    return {"path": str(path), "key": "k", "max_bytes": max_bytes}


def test_a_section_is_read_once_and_saved(tmp_path: Path) -> None:
    path = tmp_path / "readings" / "d-k.reading"
    tokens = tuple(b"context")
    with worker() as talk:
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(path))
        assert talk.until("read")[-1] == {"id": 1, "event": "read", "done": True}
        saved = load_reading(path, key="k", tokens=tokens)
        assert saved is not None
        assert saved.state == b"context"
        path.unlink()
        talk.send(op="read", id=2, prompt=PROMPT, reading=reading_at(path))  # held, so saved again
        talk.until("read")
        assert path.exists()


def test_a_damaged_reading_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "d-k.reading"
    path.write_bytes(b"nothing of the kind")
    with worker("def restore(self, reading): raise SystemError('handed over')") as talk:
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(path))
        assert talk.until("read")[-1]["done"]
    assert load_reading(path, key="k", tokens=tuple(b"context")) is not None


def test_a_reading_that_the_model_does_not_take_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "d-k.reading"
    write_reading(path, Reading("k", tuple(b"context"), b"of another llama.cpp"))
    with worker("def restore(self, reading): return False") as talk:
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(path))
        assert talk.until("read")[-1]["done"]
    assert load_reading(path, key="k", tokens=tuple(b"context")) == Reading(
        "k", tuple(b"context"), b"context"
    )


def test_the_store_stays_within_its_bound(tmp_path: Path) -> None:
    old = tmp_path / "a-1.reading"
    old.write_bytes(bytes(400))
    os.utime(old, (1, 1))
    path = tmp_path / "d-k.reading"
    with worker() as talk:
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(path, max_bytes=500))
        talk.until("read")
        assert path.exists()
        assert not old.exists()
        path.unlink()
        old.write_bytes(bytes(5))
        talk.send(op="read", id=2, prompt=PROMPT, reading=reading_at(path, max_bytes=6))
        assert talk.until("read")[-1]["done"]
        assert not path.exists()
        assert old.exists()  # not driven out by one that cannot stay


def test_what_another_process_is_reading_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "d-k.reading"
    with worker() as talk, claim(path):
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(path))
        assert not talk.until("read")[-1]["done"]
    assert not path.exists()


def test_a_disk_that_is_full_is_an_error_of_the_request(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with worker() as talk:
        talk.send(op="read", id=1, prompt=PROMPT, reading=reading_at(blocked / "d-k.reading"))
        assert talk.until("error")[-1]["code"] == "model_worker_failed"


WAITS = """
def evaluate(self, tokens, cancelled, **_):
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.01)
    self.held = tokens.prefix
    return 0
"""


def test_told_to_leave_a_reading_it_parts_at_once_and_goes_on_alone(tmp_path: Path) -> None:
    path, go = tmp_path / "d-k.reading", tmp_path / "go"
    with worker(WAITS, env={**os.environ, "GO": str(go)}) as talk:
        talk.send(op="leave", id=1, prompt=PROMPT, reading=reading_at(path))
        assert all(event["event"] == "ready" for event in talk.lines())  # ends with its output
        talk.hang_up()
        wait_for(lambda: os.getsid(talk.child.pid) == talk.child.pid, "a session of its own")
        assert is_running(talk.child.pid)
        assert os.getpriority(os.PRIO_PROCESS, talk.child.pid) == 19
        if hasattr(os, "SCHED_IDLE"):
            assert os.sched_getscheduler(talk.child.pid) == os.SCHED_IDLE
        assert not path.exists()
        go.touch()
        assert talk.child.wait(timeout=60) == 0
    assert load_reading(path, key="k", tokens=tuple(b"context")) is not None


def test_signs_of_life_come_from_a_step_that_does_not_end() -> None:
    with worker("def text_tokens(self, text): threading.Event().wait()") as talk:
        talk.until("ready")
        talk.send(op="count", id=1, text="")
        assert talk.child.stdout is not None
        assert [json.loads(talk.child.stdout.readline())["event"] for _ in range(3)] == ["alive"] * 3


def test_ctrl_c_is_the_parents_business_and_a_crash_leaves_no_core() -> None:
    limits = "def text_tokens(self, text): return [0] * sum(resource.getrlimit(resource.RLIMIT_CORE))"
    with worker(limits) as talk:
        talk.until("ready")
        talk.child.send_signal(signal.SIGINT)
        talk.send(op="count", id=1, text="")
        assert talk.until("count")[-1]["tokens"] == 0


@pytest.mark.models
def test_it_starts_anywhere_and_imports_nothing_from_there(tmp_path: Path) -> None:
    for name in ("json", "queue", "signal", "llama_cpp", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the current folder')")
    for name in ("rag", "index"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('from the current folder')")
    command = worker_command(tmp_path / "none.gguf", context_tokens=512, threads=1, pulse_s=1)
    with worker(command=command, cwd=tmp_path) as talk:
        failed = talk.until("failed")[-1]
        assert failed["code"] == "unknown_model"
        assert str(tmp_path / "none.gguf") in failed["message"]
        assert talk.child.wait() == 4


@pytest.mark.models
def test_a_process_that_was_itself_started_in_a_foreign_folder_passes_it_on_to_nobody(
    tmp_path: Path,
) -> None:
    """As `python -m rag` does, which puts the current folder first on the path."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('from the current folder')")
    root = str(Path(__file__).parent.parent)
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from rag.worker_process import worker_command; "
        "print(json.dumps(worker_command(Path('m'), context_tokens=1, threads=1, pulse_s=1)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
    result = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )
    command = json.loads(result.stdout)
    path = json.loads(command[4])
    assert str(tmp_path) not in path
    assert root in path
    assert command[command.index("--model") + 1] == str(tmp_path / "m")


def test_a_cancelled_request_is_unwanted_and_later_ones_are_not() -> None:
    cancellations = Cancellations()
    assert cancellations.wanted(1)
    cancellations.cancel(2)
    cancellations.cancel(1)
    assert [cancellations.wanted(number) for number in (1, 2, 3)] == [False, False, True]
    cancellations.cancel_all()
    assert not cancellations.wanted(3)


def test_output_that_nobody_reads_goes_nowhere() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = Output(os.fdopen(writing, "wb"))
    output.emit({"event": "alive"})
    output.emit({"event": "alive"})
    output.close()
    output.emit({"event": "alive"})
