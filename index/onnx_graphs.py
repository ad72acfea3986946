"""The graphs of embedders that were exported once: kept under the model store, made again when in doubt."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import onnxruntime

from index.model_records import sync_folder, write_whole
from index.onnx_embed import OnnxEncoder, TextForm
from index.weights import weights_folder

EXPORT_VERSION = 1
"""Raise it whenever `index.onnx_export` would make another graph of the same model."""

Say = Callable[[str], None]

_log = logging.getLogger(__name__)

_PATIENCE_S = 1800.0  # importing PyTorch alone has taken minutes on a machine that was busy
_LEAST_FREE_BYTES = 64 * 1024**2
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from index.onnx_export import run; run()"
)


class OnnxGraphs:
    """Graphs under `root`/.onnx, each two files: `KEY.onnx`, and `KEY.json` which is written last.

    KEY comes from the digest of the model's weights and the text of its small files. The record holds the
    graph's digest and the version of ONNX Runtime under which it was compared with the reference; when one of
    them differs, the graph is made again. A model that cannot be exported has a record that says so.
    """

    def __init__(self, root: Path, *, threads: int) -> None:
        self._root = root
        self._threads = threads

    def open(self, folder: Path, weights_digest: str, say: Say) -> OnnxEncoder | None:
        """The model in `folder` on ONNX Runtime; None where the reference has to serve.

        The graph is made if there is none, which takes some seconds and is told to `say`. Two processes at
        once do it once. Nothing is raised: what goes wrong here the reference does without.
        """
        graph = _Graph(self._root / ".onnx", _key(folder, weights_digest))
        record = graph.record()
        if record is None:
            try:
                self._make(graph, folder, say)
            except (OSError, subprocess.SubprocessError, filelock.Timeout) as error:
                _log.info("No graph of %s could be made: %s", folder, error)
            record = graph.record()
        if record is None or record.form is None:
            return None
        return self._encoder(graph, record, folder)

    def _encoder(self, graph: _Graph, record: _Record, folder: Path) -> OnnxEncoder | None:
        assert record.form is not None
        try:
            return OnnxEncoder(
                record.graph,
                weights_folder(folder),
                folder / "tokenizer.json",
                record.form,
                threads=self._threads,
            )
        except Exception as error:  # whatever ONNX Runtime and tokenizers raise on files they cannot use
            _log.info("%s does not run on ONNX Runtime, the reference serves: %s", folder, error)
            return None

    def _make(self, graph: _Graph, folder: Path, say: Say) -> None:
        graph.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(graph.folder).free < _LEAST_FREE_BYTES:
            return
        lock = filelock.FileLock(graph.folder / f"{graph.key}.lock")
        say(f"preparing {folder.name} for ONNX Runtime, once")
        with lock.acquire(timeout=_PATIENCE_S):
            if graph.record() is not None:
                return  # another process did it while this one waited
            graph.sweep()
            draft = graph.folder / f"{graph.key}.{os.getpid()}-{time.monotonic_ns()}.draft"
            try:
                command = [sys.executable, "-P", "-c", _COMMAND, json.dumps(_module_path())]
                done = subprocess.run(
                    [*command, str(folder), str(draft)],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_PATIENCE_S,
                )
                graph.keep(draft, _last_line(done.stdout))
            finally:
                draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Record:
    """A graph that may be used; `form` is None where it is known that there is none."""

    graph: bytes
    form: TextForm | None


class _Graph:
    """One key's files."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._graph, self._json = folder / f"{key}.onnx", folder / f"{key}.json"

    def record(self) -> _Record | None:
        """What is known and sound; None where it has to be made."""
        try:
            record = json.loads(self._json.read_text(encoding="utf-8"))
            if record["onnxruntime"] != onnxruntime.__version__:
                return None
            if "refused" in record:
                return _Record(b"", None)
            graph = self._graph.read_bytes()
            if hashlib.sha256(graph).hexdigest() != record["sha256"]:
                return None
            form = record["form"]
            return _Record(graph, TextForm(tuple(form["inputs"]), form["max_tokens"], form["pad_id"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, draft: Path, said: dict[str, Any]) -> None:
        """Put the draft in its place, then the record; with a refusal the record alone. Raises OSError."""
        if "form" in said:
            said["sha256"] = hashlib.sha256(draft.read_bytes()).hexdigest()
            draft.replace(self._graph)
            sync_folder(self.folder)
        elif "refused" not in said:
            return
        said["onnxruntime"] = onnxruntime.__version__
        write_whole(self._json, json.dumps(said, indent=1) + "\n")

    def sweep(self) -> None:
        """Remove what an interrupted export left behind. Call with the lock held."""
        for draft in self.folder.glob(f"{self.key}.*.draft"):
            draft.unlink(missing_ok=True)


def _key(folder: Path, weights_digest: str) -> str:
    """Readable, and different whenever the weights or one of the small files differ."""
    hashed = hashlib.sha256(f"{EXPORT_VERSION} {weights_digest}".encode())
    for path in sorted(folder.rglob("*.json")):
        with contextlib.suppress(OSError):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            hashed.update(f"\n{path.relative_to(folder).as_posix()} {content}".encode())
    name = re.sub("[^A-Za-z0-9.-]+", "-", folder.name)[:60]
    return f"{name}-{hashed.hexdigest()[:16]}"


def _last_line(printed: bytes) -> dict[str, Any]:
    """The object on the last line; empty where there is none, as of a process that was killed."""
    with contextlib.suppress(ValueError):
        found = json.loads(printed.decode("utf-8", "replace").strip().rpartition("\n")[2])
        if isinstance(found, dict):
            return found
    return {}


def _module_path() -> list[str]:
    """This process's module path without relative entries: a `json.py` in the current folder stays there."""
    root = str(Path(__file__).parent.parent.absolute())
    here = None
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        here = os.getcwd()
    path = [entry for entry in sys.path if os.path.isabs(entry) and (entry != here or entry == root)]
    return path if root in path else [root, *path]
