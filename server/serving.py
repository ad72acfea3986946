"""What `footnote serve` does, from its settings to its last answer."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

from index.errors import FootnoteError, UsageError
from rag.commands import pulling
from rag.present import Screen
from rag.session import open_session
from rag.types import Mode
from server.config import ServeSettings
from server.keys import ApiKey
from server.listen import Listening, address_of, bind
from server.logs import logging_to
from server.state import make_state


def serve(settings: ServeSettings, screen: Screen, *, key: str | None, mode: Mode) -> int:
    """Until a signal ends it. Raises UsageError, CollectionError and ModelError before it listens."""
    if key is None and not settings.server.is_loopback:
        raise UsageError(
            f"{settings.server.host} can be reached from other machines: set a key with --api-key-file or "
            "FOOTNOTE_API_KEY, or listen at 127.0.0.1"
        )
    checked = None if key is None else ApiKey.of(key)
    with bind(settings.server) as listener:
        with pulling(screen) as notify:
            session = open_session(settings, mode, notify=notify, must_exist=False)
        with session, logging_to(sys.stderr):
            server = Listening(make_state(settings, session, key=checked))
            screen.note(f"Footnote answers from {session.collection.name} at {address_of(listener)}")
            with _signals_ignored_afterwards():
                try:
                    server.run(sockets=[listener])
                except SystemExit:
                    raise FootnoteError("the server could not start; the lines above say why") from None
    return 0


@contextlib.contextmanager
def _signals_ignored_afterwards() -> Iterator[None]:
    """The HTTP library raises again the signal that it was ended by: it has had its effect."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
