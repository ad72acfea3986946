"""`footnote index --watch`: says what reached the collection, a line for each file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from index.types import Collection
from index.watch import Absent, Back, Caught, Postponed, Watcher
from rag.config import Settings
from rag.present import Screen
from rag.session import open_readings
from rag.visible import visible

MOST_LINES = 20
"""Of one kind of change at once; of more, the rest is counted."""


def follow(
    settings: Settings,
    screen: Screen,
    collection: Collection,
    paths: Sequence[Path],
    *,
    said: Iterable[tuple[str, str]] = (),
) -> None:
    """Until Ctrl-C, which raises KeyboardInterrupt. `said` are failures that were told already."""
    watcher = Watcher(collection, paths, settings.index)
    known, last = set(said), ""
    screen.note(f"Following {', '.join(visible(str(path)) for path in paths)}. Ctrl-C ends it.")
    try:
        for event in watcher.events():
            if isinstance(event, Caught):
                last = ""
                for line in _lines(event):
                    screen.write(visible(line) + "\n")
                screen.out.flush()
                for failure in event.report.failed:
                    if failure not in known:
                        screen.note(not_read(*failure))
                known = set(event.report.failed)
                if event:
                    open_readings(settings).keep_only({info.id for info in collection.documents()})
            elif isinstance(event, Absent):
                screen.note(
                    f"footnote: {event.path} is gone: what was indexed of it is kept until it is back"
                )
            elif isinstance(event, Back):
                screen.note(f"footnote: {event.path} is back")
            elif isinstance(event, Postponed) and event.reason != last:
                last = event.reason
                screen.note(f"footnote: {event.reason} It is tried again.")
    except KeyboardInterrupt:
        screen.note("Stopped. What was indexed stays.")
        raise


def not_read(path: str, reason: str) -> str:
    """How a file that could not be read is told."""
    return f"footnote: {reason}" if path in reason else f"footnote: {path}: {reason}"


def _lines(caught: Caught) -> Iterator[str]:
    yield from _some("renamed", [f"{_path(old)} → {_path(new)}" for old, new in caught.renamed])
    yield from _some("added", map(_path, caught.added))
    yield from _some("updated", map(_path, caught.updated))
    yield from _some("removed", map(_path, caught.removed))


def _some(word: str, names: Iterable[str]) -> Iterator[str]:
    every = list(names)
    for name in every[:MOST_LINES]:
        yield f"{word} {name}"
    if len(every) > MOST_LINES:
        yield f"{word} {len(every) - MOST_LINES} more"


def _path(uri: str) -> str:
    return unquote(uri.removeprefix("file://"), errors="replace")
