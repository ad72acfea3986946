"""The runs of `footnote eval` under HOME/eval: listed, and each rendered as its report when it is opened.

A result file names documents by their ids, which are digests of their texts, so whichever collection under
HOME/eval holds a document has the text that was asked about.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from index.catalog import FILE_NAME, Catalog
from index.errors import CollectionError, FootnoteError, UnknownDocument, UsageError
from rag.measures import GROUPS_OF
from rag.report import heading, render_report, report_policy
from rag.results import Passed, Run
from rag.runs import load_run
from rag.summary import kinds_of, measures_of, metrics_of
from server.errors import NoSuchPath, Unauthorised

LISTED = 50
TICKET_S = 3600


@dataclass(frozen=True, slots=True)
class Report:
    """A rendered page and the Content-Security-Policy that it is served under."""

    html: str
    policy: str


_Stamp = tuple[int, int]
"""Modification time in nanoseconds, and size: what is kept of a file is good while these are the same."""


class Evaluations:
    """The result files of one folder. Safe to use from several threads.

    With `ticketed`, addresses carry a ticket: a browser that opens one sends no key.
    """

    def __init__(self, folder: Path, *, ticketed: bool = False) -> None:
        self._folder = folder
        self._ticketed = ticketed
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._listed: dict[Path, tuple[_Stamp, dict[str, Any] | None]] = {}
        self._rendered: tuple[Path, _Stamp, Report] | None = None

    def listed(self) -> list[dict[str, Any]]:
        """The latest runs; a file that is none is passed over."""
        stamps = {path: stamp for path in self._files() if (stamp := _stamp(path)) is not None}
        latest = sorted(stamps, key=lambda path: stamps[path], reverse=True)[:LISTED]
        found = [self._described(path, stamps[path]) for path in latest]
        return [{**one, "url": self._address(one["name"])} for one in found if one is not None]

    def report(self, name: str) -> Report:
        """The report of a run. Raises NoSuchPath, UsageError for a file that is no run."""
        path = next((path for path in self._files() if path.stem == name), None)
        stamp = _stamp(path) if path else None
        if path is None or stamp is None:
            raise NoSuchPath(f"there is no evaluation called {name}")
        with self._lock:
            if self._rendered is None or self._rendered[:2] != (path, stamp):
                self._rendered = path, stamp, self._render(path)
            return self._rendered[2]

    def require_ticket(self, name: str, ticket: str) -> None:
        """Raises Unauthorised for a ticket that is not of this name, or not any more."""
        until, _, signature = ticket.partition(".")
        fits = hmac.compare_digest(self._signature(name, until).encode(), signature.encode())
        if not fits or int(until) < time.time():
            raise Unauthorised("this address is good for an hour only: open the report from the list again")

    def _files(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if path.suffix == ".jsonl"]
        except OSError:
            return []

    def _described(self, path: Path, stamp: _Stamp) -> dict[str, Any] | None:
        with self._lock:
            kept = self._listed.get(path)
        if kept is None or kept[0] != stamp:
            kept = stamp, _described(path, stamp)
            with self._lock:
                self._listed[path] = kept
        return kept[1]

    def _render(self, path: Path) -> Report:
        configuration, questions = load_run(path)
        measures = measures_of(_groups(path, configuration))
        run = Run(
            configuration,
            tuple(questions),
            metrics_of(questions, measures),
            kinds=kinds_of(questions, measures),
        )
        texts = self._texts(_documents(questions))
        return Report(render_report(run, texts), report_policy() + "; frame-ancestors 'none'")

    def _texts(self, ids: set[str]) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for catalog in sorted(self._folder.glob(f"*/{FILE_NAME}")):
            wanted = ids - found.keys()
            if not wanted:
                break
            found |= _held(catalog.parent, wanted)
        return found

    def _address(self, name: str) -> str:
        address = f"/evaluations/{quote(name, safe='')}"
        if not self._ticketed:
            return address
        until = str(int(time.time()) + TICKET_S)
        return f"{address}?ticket={until}.{self._signature(name, until)}"

    def _signature(self, name: str, until: str) -> str:
        return hmac.new(self._secret, f"{until} {name}".encode(), hashlib.sha256).hexdigest()


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _described(path: Path, stamp: _Stamp) -> dict[str, Any] | None:
    """What the list says of a run; None for what is none, or only fits the gate."""
    try:
        configuration, questions = load_run(path)
        _groups(path, configuration)
    except FootnoteError:
        return None
    if configuration.get("calibrating"):
        return None
    chat = (configuration.get("models") or {}).get("chat") or {}
    return {
        "name": path.stem,
        "title": heading(questions),
        "gold": str((configuration.get("gold") or {}).get("name") or path.stem),
        "created": datetime.fromtimestamp(stamp[0] / 1e9, UTC).isoformat(timespec="seconds"),
        "questions": len(questions),
        "asking": configuration["asking"],
        "model": chat.get("name"),
    }


def _groups(path: Path, configuration: Mapping[str, Any]) -> Sequence[Any]:
    groups = GROUPS_OF.get(str(configuration.get("asking")))
    if groups is None:
        raise UsageError(f"{path.name} does not say what was measured: run footnote eval again")
    return groups


def _documents(questions: Iterable[Passed]) -> set[str]:
    """The ids of all documents that gold ranges and answers name."""
    ids: set[str] = set()
    for one in questions:
        ids |= {id for alternative in one.gold for id, _, _ in alternative}
        for part in ("citations", "nearest"):
            ids |= {cited["document_id"] for cited in (one.answer or {}).get(part, ())}
    return ids


def _held(folder: Path, ids: set[str]) -> dict[str, tuple[str, str]]:
    """Title and text of those documents that the collection holds."""
    found = {}
    try:
        with closing(Catalog(folder)) as catalog, catalog.reading() as reader:
            for id in ids:
                try:
                    document = reader.document(id)
                except UnknownDocument:
                    continue
                found[id] = document.title, document.text
    except CollectionError:
        pass  # the report says which texts are not at hand
    return found
