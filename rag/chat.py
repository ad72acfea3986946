"""The interactive loop: questions with history, until there are no more."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from index.errors import FootnoteError
from rag.ahead import ReadAhead
from rag.errors import GenerationCancelled
from rag.present import AnswerView, Line, Screen, citation_lines, nearest_lines
from rag.session import Session
from rag.types import Answer, AnswerFinished, Mode, Turn

HELP = """\
/sources  show the sources of the last answer in full
/new      forget the conversation
/help     show this
/quit     leave; so does Ctrl-D
Ctrl-C stops an answer."""

PROMPT = "> "
TURNS_KEPT = 8
HISTORY_LINES = 1000

ReadLine = Callable[[], str | None]
"""The next line without its end, None after the last."""


class Chat:
    """One conversation over a session. `read_line` gives what the person types."""

    def __init__(
        self,
        session: Session,
        screen: Screen,
        read_line: ReadLine,
        *,
        mode: Mode = "compose",
        top: int | None = None,
    ) -> None:
        self._session = session
        self._screen = screen
        self._read_line = read_line
        self._mode: Mode = mode
        self._top = top
        self._turns: list[Turn] = []
        self._last: Answer | None = None
        generator = session.generator
        self._ahead = ReadAhead(generator) if generator and session.settings.rag.read_ahead else None

    def run(self) -> None:
        """Until `/quit` or the end of the input. KeyboardInterrupt at the prompt goes to the caller."""
        try:
            while (line := self._read_line()) is not None:
                line = line.strip()
                if line.startswith("/") and line[1:].isalpha():
                    if line in {"/quit", "/exit"}:
                        break
                    self._command(line)
                elif line:
                    self._answer(line)
        finally:
            unfinished = self._ahead.stop() if self._ahead else None
        if unfinished is not None:
            self._session.leave(unfinished)

    def _command(self, name: str) -> None:
        if name == "/help":
            self._screen.show([Line(line) for line in HELP.splitlines()])
        elif name == "/new":
            self._turns.clear()
            self._last = None
            self._screen.note("The conversation is forgotten.")
        elif name != "/sources":
            self._screen.note(f"There is no command {name}; /help lists them.")
        elif self._last is None:
            self._screen.note("Nothing has been answered yet.")
        else:
            shown = citation_lines(self._last.citations, whole=True)
            shown += nearest_lines(self._last.nearest, whole=True)
            self._screen.show([*shown[1:], Line("")])

    def _answer(self, question: str) -> None:
        if self._ahead is not None:
            self._ahead.stop()
        try:
            with stopping() as stopped, self._screen.waiting("searching") as waiting:
                view = AnswerView(self._screen, waiting, streams=self._screen.is_terminal)
                events: Any = self._session.pipeline.stream(
                    question, self._turns, mode=self._mode, top=self._top, cancelled=stopped.is_set
                )
                # Closed at once when something breaks off: until then it holds the generator's turn.
                with contextlib.closing(events):
                    for event in events:
                        view.show(event)
                        if isinstance(event, AnswerFinished):
                            self._remember(event.answer)
            self._screen.show([Line("")])
        except GenerationCancelled:
            if self._screen.is_terminal:
                self._screen.write("\n")  # after what was shown of the answer, and the echo of Ctrl-C
            self._screen.note("Stopped.")
        except FootnoteError as error:
            self._screen.note(f"footnote: {error}")
        unread = self._session.pipeline.unread
        if self._ahead is not None and unread is not None:
            self._ahead.begin(unread)

    def _remember(self, answer: Answer) -> None:
        self._last = answer
        self._turns += [Turn("user", answer.question), Turn("assistant", without_numbers(answer))]
        del self._turns[:-TURNS_KEPT]


def without_numbers(answer: Answer) -> str:
    """The answer's text without its footnote numbers, as the model should see it later."""
    parts: list[str] = []
    for sentence in answer.sentences:
        text = answer.answer[sentence.start : sentence.end]
        marks = "".join(f"[{number}]" for number in sentence.citations)
        body, found, final = text.rpartition(f" {marks}")
        parts.append(body + final if found else text)
    return " ".join(parts) or answer.answer


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, the second raises KeyboardInterrupt. For the main thread."""
    stopped = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def typed_lines(source: TextIO, screen: Screen, history: Path) -> Iterator[ReadLine]:
    """Reads lines from a person, with a prompt, line editing and a history, or from a pipe, without."""
    if not source.isatty():
        yield lambda: _next(source)
    elif not screen.is_terminal:
        # The line editor would write its prompt among the answers.
        def prompted() -> str | None:
            screen.err.write(PROMPT)
            screen.err.flush()
            return _next(source)

        yield prompted
    else:
        with _line_editor(history):
            yield _edited


def _next(source: TextIO) -> str | None:
    line = source.readline()
    return line.rstrip("\n") if line else None


def _edited() -> str | None:
    try:
        return input(PROMPT)
    except EOFError:
        sys.stdout.write("\n")
        return None


@contextlib.contextmanager
def _line_editor(history: Path) -> Iterator[None]:
    try:
        # Not in every Python; importing it changes how input() behaves, so only here.
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)
            readline.write_history_file(history)
