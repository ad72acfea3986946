"""Cold processes and their memory: what a person starts by typing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from .children import HERE, ROOT


def cold(arguments: Sequence[str]) -> tuple[float, str]:
    """Seconds from the start of a process to its end, and what it printed. Raises CalledProcessError."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    took = time.perf_counter() - began
    if done.returncode not in {0, 5}:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return took, done.stdout


def footnote(*arguments: str) -> list[str]:
    return ["-m", "server", *arguments]


def cold_answer(question: str, collection: Path, model: str) -> tuple[float, dict[str, Any]]:
    """Of `footnote ask`, as an object."""
    flags = ("--json", "--offline", "-m", model, "-c", str(collection))
    took, printed = cold(footnote("ask", *flags, question))
    return took, json.loads(printed)


def cold_bare(model: Path, threads: int, text: str, count: int) -> float:
    """A process that loads the model, reads `text` and writes `count` tokens with nothing of ours."""
    return cold([str(HERE / "bare.py"), str(model), "4096", str(threads), text, str(count)])[0]


@contextmanager
def serving(collection: Path, model: str, log: Path) -> Iterator[tuple[httpx2.Client, int]]:
    """A client of `footnote serve` in a process of its own, ready, and that process's number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ("--offline", "-m", model, "-c", str(collection), "-p", str(port))
    with log.open("wb") as complaints:
        process = subprocess.Popen(
            [sys.executable, *footnote("serve", *flags)], cwd=ROOT, stdout=complaints, stderr=complaints
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client:
            _wait_until_ready(client, process)
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(client: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("footnote serve ended")
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError("footnote serve is not ready after five minutes")


def memory_mb(process_id: int, model: Path) -> dict[str, float] | None:
    """Resident megabytes of a process and its children, pages that several share counted once: the model
    file's, and all others. None where the system does not tell."""
    found = {"model_file": 0.0, "other": 0.0}
    try:
        for one in _family(process_id):
            mapped = ""
            for line in Path(f"/proc/{one}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
                if head := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)", line):
                    mapped = head[1]
                elif line.startswith("Pss:"):
                    kind = "model_file" if mapped and os.path.realpath(mapped) == str(model) else "other"
                    found[kind] += int(line.split()[1]) * 1024 / 1e6
    except OSError:
        return None
    return found


def _family(process_id: int) -> list[int]:
    found, at = [process_id], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").iterdir():
            found += [int(one) for one in (task / "children").read_text().split()]
        at += 1
    return found
