"""Asking, adding and deleting at once, for as long as you say; then: no 500, and nothing that grew.

    python tests/bench/mixed_hour.py 3600

The server is `footnote serve` in a process of its own over the fake models, at loopback. Memory, open files
and threads are read from /proc every few seconds; growth is counted from a sixth of the time on. The exit
code is 1 when something was wrong.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).parent.parent))

from cli_home import NOTES, REPOSITORY, environment

GOLD = ("When was the bridge at Brenz opened?", "The bridge at Brenz was opened in 1911")
QUESTIONS = [GOLD[0], "Who designed the bridge?", "Who painted the ceiling?", "And when did she study?", "?"]
ASKERS, WRITERS = 3, 2
SAMPLE_S = 2.0
PATIENCE_S = 300.0  # of clients, on a machine that may be busy with other things
MOST_GROWTH = 1.05  # of memory
MOST_MORE = 4  # open files or threads: a few come and go with requests


@dataclass
class Seen:
    """What happened; for several threads."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)
    """Seconds since the start, resident kB, open files, threads."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, status: int) -> None:
        with self.lock:
            self.statuses[f"{what} {status}"] += 1


def ask(client: httpx2.Client, seen: Seen, chance: random.Random) -> None:
    question = chance.choice(QUESTIONS)
    body: dict[str, Any] = {"question": question, "mode": chance.choice(["compose", "quote"])}
    way = chance.randrange(4)
    if way == 0:
        with client.stream(
            "POST", "/api/ask", json=body, headers={"accept": "text/event-stream"}
        ) as response:
            seen.note("ask stream", response.status_code)
            if chance.random() < 0.3:
                return  # goes away in the middle
            response.read()
    elif way == 1:
        messages = [{"role": "user", "content": question}]
        response = client.post(
            "/v1/chat/completions", json={"messages": messages, "stream": chance.random() < 0.5}
        )
        seen.note("chat", response.status_code)
    else:
        response = client.post("/api/ask", json=body)
        seen.note("ask", response.status_code)
        if question == GOLD[0] and response.status_code == 200 and GOLD[1] not in response.text:
            seen.wrong.append(response.text[:300])


def write(client: httpx2.Client, seen: Seen, chance: random.Random) -> None:
    number = chance.randrange(10**9)
    text = (
        f"Machine {number} stands in hall {number % 97}. It weighs {number % 1000} tons.\n"
        * chance.randint(1, 30)
    )
    response = client.post("/api/documents", files=[("files", (f"{number}.txt", text.encode()))])
    seen.note("add", response.status_code)
    if response.status_code == 200:
        document_id = response.json()["results"][0]["document"]["id"]
        time.sleep(chance.random() * 0.5)
        seen.note("delete", client.delete(f"/api/documents/{document_id}").status_code)


def work(address: str, job: Any, seen: Seen, end: float, seed: int) -> None:
    chance = random.Random(seed)
    with httpx2.Client(base_url=address, trust_env=False, timeout=PATIENCE_S) as client:
        while time.monotonic() < end:
            try:
                job(client, seen, chance)
            except httpx2.HTTPError as error:
                seen.wrong.append(f"{job.__name__}: {type(error).__name__} {error}")
            time.sleep(chance.random() * 0.1)


def watch(address: str, pid: int, seen: Seen, began: float, end: float) -> None:
    with httpx2.Client(base_url=address, trust_env=False, timeout=PATIENCE_S) as client:
        while time.monotonic() < end:
            asked = time.monotonic()
            seen.note("health", client.get("/health").status_code)
            seen.health_s.append(time.monotonic() - asked)
            status = Path(f"/proc/{pid}/status").read_text()
            memory = int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
            threads = int(re.findall(r"Threads:\s+(\d+)", status)[0])
            files = len(os.listdir(f"/proc/{pid}/fd"))
            seen.samples.append((time.monotonic() - began, memory, files, threads))
            time.sleep(SAMPLE_S)


def started(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    notes = home / "notes.txt"
    notes.write_text(NOTES)
    variables = {**os.environ, **environment(home)}
    program = [sys.executable, "-m", "server"]
    subprocess.run([*program, "index", str(notes)], cwd=REPOSITORY, env=variables, check=True)
    log = (home / "log").open("wb")
    child = subprocess.Popen([*program, "serve", "--port", "0"], cwd=REPOSITORY, env=variables, stderr=log)
    for _ in range(round(10 * PATIENCE_S)):
        found = re.search(r"http://\S+", (home / "log").read_text())
        if found:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{found[0]}/ready", trust_env=False).status_code == 200:
                    return child, found[0]
        time.sleep(0.1)
    raise SystemExit("the server did not start:\n" + (home / "log").read_text())


def middle(values: list[int]) -> float:
    return sorted(values)[len(values) // 2]


def main(seconds: float) -> int:
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        child, address = started(Path(folder))
        try:
            began = time.monotonic()
            end = began + seconds
            threads = [
                threading.Thread(target=work, args=(address, job, seen, end, seed))
                for seed, job in enumerate([ask] * ASKERS + [write] * WRITERS)
            ]
            threads.append(threading.Thread(target=watch, args=(address, child.pid, seen, began, end)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gold = httpx2.post(
                f"{address}/api/ask", json={"question": GOLD[0]}, trust_env=False, timeout=PATIENCE_S
            )
            if GOLD[1] not in gold.text:
                seen.wrong.append(f"at the end: {gold.text[:300]}")
        finally:
            child.terminate()
            code = child.wait(PATIENCE_S)
        tracebacks = (Path(folder) / "log").read_text().count('"traceback"')
    return report(seen, seconds, code, tracebacks)


def report(seen: Seen, seconds: float, code: int, tracebacks: int) -> int:
    settled = [sample for sample in seen.samples if sample[0] > seconds / 6]
    first, last = settled[: len(settled) // 5 or 1], settled[-(len(settled) // 5 or 1) :]
    growth = {
        name: middle([sample[at] for sample in last]) / middle([sample[at] for sample in first])
        for at, name in ((1, "memory"), (2, "files"), (3, "threads"))
    }
    failures = [what for what in seen.statuses if what.split()[-1] >= "500"]
    health = sorted(seen.health_s)
    print(json.dumps(
        {
            "seconds": seconds,
            "statuses": dict(sorted(seen.statuses.items())),
            "memory_curve_kb": [sample[1] for sample in seen.samples[:: len(seen.samples) // 12 or 1]],
            "memory_kb": [middle([sample[1] for sample in part]) for part in (first, last)],
            "files": [middle([sample[2] for sample in part]) for part in (first, last)],
            "threads": [middle([sample[3] for sample in part]) for part in (first, last)],
            "growth": {name: round(value, 4) for name, value in growth.items()},
            "health_ms": [round(1000 * seconds, 1) for seconds in (health[len(health) // 2], health[-1])],
            "tracebacks": tracebacks,
            "exit_code": code,
            "wrong": seen.wrong[:10],
        },
        indent=1,
    ))  # fmt: skip
    is_wrong = failures or seen.wrong or tracebacks or code or growth["memory"] > MOST_GROWTH
    more = [middle([s[at] for s in last]) - middle([s[at] for s in first]) for at in (2, 3)]
    return 1 if is_wrong or max(more) > MOST_MORE else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0))
