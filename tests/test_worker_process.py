from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from worker_fakes import fake_command, is_running, leftovers, wait_for

import rag.worker_process
from index.errors import ModelUnsuitable
from rag.errors import GenerationCancelled, WorkerFailed
from rag.worker_process import WorkerProcess, error_of, given_cores


def never() -> bool:
    return False


@contextmanager
def process(changes: str = "", *, silence_limit_s: float = 30.0) -> Iterator[WorkerProcess]:
    process = WorkerProcess(fake_command(changes), silence_limit_s=silence_limit_s)
    try:
        assert process.receive(never) == {"event": "ready", "context_tokens": 512}
        yield process
    finally:
        process.stop()


def count(process: WorkerProcess) -> dict[str, Any]:
    process.send({"op": "count", "id": 1, "text": "abc"})
    return process.receive(never)


def test_it_answers_and_stops_without_a_trace() -> None:
    before = leftovers()
    with process() as running:
        assert count(running) == {"id": 1, "event": "count", "tokens": 3}
        assert running.alive
        pid = running.pid
    assert leftovers() == before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    running.stop()  # twice does no harm


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            "os.write(2, b'model.cpp:7: GGML_ASSERT(x) failed\\n\\n'); os.abort()",
            "the model process was ended by SIGABRT (model.cpp:7: GGML_ASSERT(x) failed); ask again",
        ),
        ("ctypes.string_at(8)", "the model process was ended by SIGSEGV; ask again"),
        (
            "os.kill(os.getpid(), 9)",
            "the model process was ended by SIGKILL; ask again, and if memory ran out choose a smaller model "
            "with --model",
        ),
        (
            "print('last', 'words', file=sys.stderr, flush=True); os._exit(3)",
            "ended with code 3 (last words)",
        ),
        ("raise KeyboardInterrupt('stop')", "ended with code 1 (KeyboardInterrupt: stop)"),
    ],
)
def test_its_end_is_told_with_its_last_words(end: str, message: str) -> None:
    with process(f"def text_tokens(self, text): {end}") as running:
        with pytest.raises(WorkerFailed) as caught:
            count(running)
        assert message in str(caught.value)
        assert running.crashed == ("SIGABRT" in message or "SIGSEGV" in message)
        with pytest.raises(WorkerFailed):
            running.receive(never)  # and whoever asks again is told so
        with pytest.raises(WorkerFailed):
            running.send({"op": "count", "id": 2, "text": ""})


def test_much_on_its_standard_error_blocks_nobody() -> None:
    with process("def text_tokens(self, text): os.write(2, b'x' * (1 << 20)); return [1]") as running:
        assert count(running)["tokens"] == 1


def test_a_stopped_process_is_ended_after_the_silence_limit() -> None:
    with process(silence_limit_s=1.0) as running:
        os.kill(running.pid, signal.SIGSTOP)
        with pytest.raises(WorkerFailed, match="gave no sign of life for 1 s and was ended; ask again"):
            count(running)
        assert not running.alive


def test_a_slow_step_is_no_silence() -> None:
    with process("def text_tokens(self, text): time.sleep(3); return [1]", silence_limit_s=1.5) as running:
        assert count(running)["tokens"] == 1


def test_slow_loading_is_no_silence() -> None:
    with process("def __init__(self, *_, **__): time.sleep(3)", silence_limit_s=1.5) as running:
        assert count(running)["tokens"] == 3


def test_alive_but_at_a_standstill_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.worker_process, "STANDSTILL_LIMIT_S", 1.0)
    with (
        process("def text_tokens(self, text): threading.Event().wait()") as running,
        pytest.raises(WorkerFailed, match="got nothing done for 1 s"),
    ):
        count(running)


def test_nonsense_instead_of_events_ends_it() -> None:
    running = WorkerProcess([sys.executable, "-c", "print('nonsense', flush=True); input()"])
    with pytest.raises(WorkerFailed, match="SIGKILL"):
        running.receive(never)
    running.stop()


def test_no_longer_wanted_it_is_let_go_at_once() -> None:
    with process("def text_tokens(self, text): threading.Event().wait()") as running:
        running.send({"op": "count", "id": 1, "text": ""})
        looks = iter([False, False, True])
        with pytest.raises(GenerationCancelled):
            running.receive(lambda: next(looks))


def test_a_program_that_is_not_there() -> None:
    before = leftovers()
    with pytest.raises(WorkerFailed, match="cannot be started"):
        WorkerProcess(["/no/such/program"])
    assert leftovers() == before


def test_parted_it_ends_alone_and_is_taken_note_of(tmp_path: Any) -> None:
    before = leftovers()
    path = tmp_path / "d-k.reading"
    running = WorkerProcess(fake_command())
    prompt = {"instructions": "", "context": "c", "question": ""}
    reading = {"path": str(path), "key": "k", "max_bytes": 1000}
    running.send({"op": "leave", "id": 1, "prompt": prompt, "reading": reading})
    running.part()
    wait_for(lambda: leftovers() == before, "its end")
    assert path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def test_one_that_does_not_part_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.worker_process, "_STOP_LIMIT_S", 0.2)
    before = leftovers()
    running = WorkerProcess(fake_command())
    running.receive(never)
    os.kill(running.pid, signal.SIGSTOP)
    running.send({"op": "leave", "id": 1, "prompt": {}, "reading": {}})
    running.part()
    assert not is_running(running.pid)
    assert leftovers() == before


def test_errors_keep_their_kind() -> None:
    error = error_of({"event": "error", "code": "model_unsuitable", "message": "m"})
    assert type(error) is ModelUnsuitable
    assert str(error) == "m"
    assert type(error_of({"event": "error", "code": "?", "message": "m"})) is WorkerFailed


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 6), ("150000 100000", 2), ("50000 100000", 1), ("?", 6), (None, 6)]
)
def test_cores_are_those_given_to_us(
    quota: str | None, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(rag.worker_process, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert given_cores() == expected


def test_commands_carry_no_surprises() -> None:
    command = fake_command()
    assert command[1] == "-P"
    assert all(os.path.isabs(entry) for entry in json.loads(command[4]))
