"""Two servers on one PostgreSQL behind haproxy, restarted in turn under load: no request may fail.

    python tests/bench/rolling_restart.py 20 60

So many requests a second for so many seconds, whether those before have ended or not: quotations, whole and
as events, pages of the list of documents, and texts. Once a second a document is added through the balancer
and asked for at once; every fifth is removed again, and must be gone at once. Of a question the passage that
answers it has to be cited or, where the gate refuses (the embedder is the fake), to be the nearest. Meanwhile
one server is ended by SIGTERM and started again, then the other, with a home that is empty. haproxy has the
configuration that is shipped, but for its ports. Prints one JSON object; the exit code is 1 when something
failed. Needs haproxy and what the tests of PostgreSQL need.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from page_browser import free_port
from postgres_server import made_server, removed

ROOT = Path(__file__).parent.parent.parent
DRAIN_S = 4.0
DOCUMENTS = 200


class Footnote:
    """`footnote serve`, started again at the same port with a home of its own that may be empty."""

    def __init__(self, url: str, home: Path) -> None:
        self.port = free_port()
        self._url = url
        self._home = home
        self._log = (home.parent / f"{home.name}.log").open("ab")
        self.start()

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--quote", "--port", str(self.port), "-c", self._url],
            cwd=ROOT,
            stderr=self._log,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")},
                "FOOTNOTE_HOME": str(self._home),
                "FOOTNOTE_CONFIG": "",
                "FOOTNOTE_OFFLINE": "1",
                "FOOTNOTE_INDEX__EMBEDDER": "hash",
                "FOOTNOTE_SERVER__DRAIN_S": str(DRAIN_S),
                "FOOTNOTE_SERVER__QUEUE": "200",
            },
        )

    def end(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(60):
            raise SystemExit(f"the server ended with {self.child.returncode}: see {self._log.name}")
        shutil.rmtree(self._home, ignore_errors=True)  # nothing that is kept is kept there


def balancer(port: int, servers: list[int], folder: Path) -> subprocess.Popen[bytes]:
    text = (ROOT / "server/haproxy.cfg").read_text(encoding="utf-8")
    for shipped, real in zip((8000, 8001, 8002), (port, *servers), strict=True):
        text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{real}")
    config = folder / "haproxy.cfg"
    config.write_text(text, encoding="utf-8")
    return subprocess.Popen(["haproxy", "-f", str(config), "-db"], stderr=(folder / "haproxy.log").open("wb"))


async def until_ready(port: int) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        for _ in range(1200):
            try:
                if (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("a server does not become ready")


def text_of(number: int) -> str:
    return f"The bridge of town{number} was opened in the year {1000 + number}."


class Load:
    """What was asked, and what became of it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.counts: collections.Counter[str] = collections.Counter()
        self.failed: list[str] = []
        self.seconds: dict[str, list[float]] = collections.defaultdict(list)
        self.ids: dict[int, str] = {}

    async def add(self, number: int) -> None:
        sent = {"title": f"town{number}", "text": text_of(number)}
        response = await self._client.post("/api/documents", json=sent)
        if response.status_code != 200:
            raise ValueError(f"adding: {response.status_code} {response.text[:200]}")
        self.ids[number] = response.json()["results"][0]["document"]["id"]

    async def quote(self, number: int, *, as_events: bool = False) -> None:
        body = {"question": f"When was the bridge of town{number} opened?", "mode": "quote"}
        if as_events:
            headers = {"accept": "text/event-stream"}
            response = await self._client.post("/api/ask", json=body, headers=headers)
            last = response.text.rstrip().rpartition("data: ")[2]
            answer = json.loads(last).get("answer", {}) if last else {}
        else:
            response = await self._client.post("/api/ask", json=body)
            answer = response.json()
        cited = [one["cited_text"] for one in answer.get("citations", ())]
        nearest = [one["text"] for one in answer.get("nearest", ())]
        self.counts["refused"] += not cited
        if response.status_code != 200 or text_of(number) not in (cited or nearest):
            raise ValueError(f"town{number}: {response.status_code} {response.text[:300]}")

    async def events(self, number: int) -> None:
        await self.quote(number, as_events=True)

    async def listing(self, number: int) -> None:
        response = await self._client.get("/api/documents", params={"limit": 20})
        if response.status_code != 200 or len(response.json()["documents"]) != 20:
            raise ValueError(f"listing: {response.status_code} {response.text[:200]}")

    async def text(self, number: int) -> None:
        response = await self._client.get(f"/api/documents/{self.ids[number]}/text")
        if response.status_code != 200 or response.json()["text"] != text_of(number):
            raise ValueError(f"text: {response.status_code} {response.text[:200]}")

    async def added(self, number: int) -> None:
        """Seen by both at once; and removed by either, gone for both."""
        await self.add(number)
        await asyncio.gather(self.quote(number), self.quote(number))
        if number % 5 == 0:
            path = f"/api/documents/{self.ids[number]}"
            if (await self._client.delete(path)).status_code != 204:
                raise ValueError(f"removing town{number}")
            found = await asyncio.gather(*(self._client.get(f"{path}/text") for _ in range(2)))
            if [one.status_code for one in found] != [404, 404]:
                raise ValueError(f"town{number} is there after it was removed")

    async def one(self, kind: str, number: int) -> None:
        began = time.monotonic()
        try:
            await getattr(self, kind)(number)
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            self.failed.append(f"{kind}: {type(error).__name__} {error}")
        self.counts[kind] += 1
        self.seconds[kind].append(time.monotonic() - began)


async def measure(rate: int, seconds: int, port: int, servers: list[Footnote]) -> dict[str, Any]:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
    base = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=60, limits=limits) as client:
        load = Load(client)
        for server in servers:
            await until_ready(server.port)
        await until_ready(port)
        for number in range(DOCUMENTS):
            await load.add(number)
        began, requests = time.monotonic(), []
        restarts: list[float] = []

        async def restarting() -> None:
            for turn in range(2):
                server = servers[turn % 2]
                await asyncio.sleep(max(began + seconds * (0.1 + 0.45 * turn) - time.monotonic(), 2))
                asked = time.monotonic()
                await asyncio.to_thread(server.end)
                server.start()
                await until_ready(server.port)
                restarts.append(round(time.monotonic() - asked, 1))

        rolling = asyncio.create_task(restarting())
        kinds = ("quote", "events", "quote", "listing", "text")
        sent = 0
        while sent < rate * seconds or not rolling.done():
            await asyncio.sleep(max(began + sent / rate - time.monotonic(), 0))
            kind = "added" if sent % rate == 0 else kinds[sent % len(kinds)]
            number = DOCUMENTS + sent // rate if kind == "added" else sent * 7 % DOCUMENTS
            requests.append(asyncio.create_task(load.one(kind, number)))
            sent += 1
        await asyncio.gather(*requests)
        await rolling
        elapsed = time.monotonic() - began
    return {
        "requests": sent,
        "a_second": round(sent / elapsed, 1),
        "kinds": dict(load.counts),
        "restarts": len(restarts),
        "restart_s": restarts,
        "failed": len(load.failed),
        "failures": load.failed[:10],
        "median_s": {kind: round(statistics.median(found), 3) for kind, found in load.seconds.items()},
        "longest_s": {kind: round(max(found), 2) for kind, found in load.seconds.items()},
    }


def main(rate: int, seconds: int) -> int:
    database = made_server()
    folder = Path(tempfile.mkdtemp(prefix="rolling-"))
    children: list[subprocess.Popen[bytes]] = []
    servers: list[Footnote] = []
    try:
        servers += [Footnote(database.url("rolling"), folder / name) for name in ("one", "two")]
        port = free_port()
        children.append(balancer(port, [server.port for server in servers], folder))
        found = asyncio.run(measure(rate, seconds, port, servers))
    finally:
        for child in (*children, *(server.child for server in servers)):
            child.kill()
            child.wait()
        removed(database)
    print(json.dumps(found, indent=1))
    if found["failed"]:
        print(f"the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])) if len(sys.argv) > 2 else main(20, 60))
