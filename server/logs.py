"""The log: one JSON object a line, written by a thread of its own, so that a full pipe holds nobody up."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import queue
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_NAMES = ("footnote.server", "footnote.endpoints", "uvicorn.error")


MOST_WAITING = 10_000
"""Lines that wait to be written; what comes then is lost."""


class JsonLines(logging.Formatter):
    """What a record carries as `extra`, after its time, level and event. A traceback is one field."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(fields, default=str)


class _Bounded(logging.handlers.QueueHandler):
    """Drops a record when nobody takes the lines away, and leaves it as it is: it stays in this process."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _Writer(logging.handlers.QueueListener):
    """Can be stopped when no more lines may wait too."""

    def enqueue_sentinel(self) -> None:
        self.queue.put(None)  # type: ignore[attr-defined]


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """While it lasts, the server's log and that of the HTTP library go to `stream`."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    writer = logging.StreamHandler(stream)
    writer.setFormatter(JsonLines())
    handler = _Bounded(lines)
    listener = _Writer(lines, writer)
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        # The HTTP library says at INFO what the start and the end of the program say already.
        logger.setLevel(logging.INFO if logger.name.startswith("footnote.") else logging.WARNING)
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
