"""A worker process around a model that a test writes in a few lines, and what is left of processes."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rag.worker_process import worker_command

# Its tokens are the characters' bytes. What a test adds may override anything.
MODEL = """
import ctypes, os, resource, sys, threading, time
from dataclasses import dataclass
from rag.readings import Reading
from rag.types import Piece, Usage

@dataclass(frozen=True)
class Tokens:
    prefix: tuple
    lead: tuple = ()
    rest: tuple = ()
    @property
    def all(self): return self.prefix + self.lead + self.rest

class LlamaModel:
    context_tokens = 512
    held = ()
    def __init__(self, path, *, context_tokens, threads): self.path = path
    def text_tokens(self, text): return list(text.encode())
    def prompt_tokens(self, prompt):
        return Tokens(tuple(prompt.context.encode()), (), tuple(prompt.question.encode()))
    def holds(self, tokens): return len(tokens.prefix) if self.held == tokens.prefix else 0
    def forget(self): self.held = ()
    def evaluate(self, tokens, cancelled, *, logits=True):
        if cancelled(): return None
        self.held = tokens.prefix
        return 0
    def state(self, key): return Reading(key, self.held, bytes(self.held))
    def restore(self, reading):
        self.held = reading.tokens
        return True
    def first_token_log_probabilities(self, choices): return tuple(-1.0 for _ in choices)
    def generate(self, tokens, *, max_tokens, temperature, seed, grammar, cancelled):
        self.evaluate(tokens, cancelled)
        yield Piece("said")
        yield Piece("", Usage(1, 1, 0), "end")
"""


def fake_command(changes: str = "", *, pulse_s: float = 0.05) -> list[str]:
    """Starts a worker whose LlamaModel has the methods in `changes`, unindented source, in place of ours."""
    source = MODEL + "".join("    " + line + "\n" for line in changes.strip().splitlines())
    real = worker_command(Path("/model"), context_tokens=512, threads=1, pulse_s=pulse_s)
    start = (
        "import json, sys, types; sys.path[:] = json.loads(sys.argv.pop(1)); "
        "fake = types.ModuleType('rag.llama'); sys.modules['rag.llama'] = fake; "
        f"exec({json.dumps(source)}, fake.__dict__); from rag.worker import run; run()"
    )
    position = real.index("-c") + 1
    return [sys.executable, *real[1:position], start, *real[position + 1 :]]


def is_running(pid: int) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s in vain for {what}"
        time.sleep(0.01)


def leftovers() -> tuple[set[str], int]:
    """Names of the threads of this process, and how many files it has open."""
    return {thread.name for thread in threading.enumerate()}, len(list(Path("/proc/self/fd").iterdir()))
