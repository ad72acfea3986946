"""What a person sees: answers, sources and progress, in a terminal or through a pipe.

Titles, addresses, answers and quotations come from documents, so all of them pass through `rag.visible`.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

from rag.prompts import REFUSAL
from rag.types import Answer, AnswerEvent, AnswerFinished, Citation, Evidence, EvidenceFound, SentenceVerified
from rag.visible import flowing, visible

QUOTED_CHARACTERS = 300
"""Longest quotation under an answer; `/sources` and `--json` give all of it."""


def place(uri: str) -> str:
    """The path of a file URI, another URI as it is."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return uri
    return urllib.parse.unquote(parts.path, errors="replace")


@dataclass(frozen=True, slots=True)
class Line:
    """A line to show: `lead` stands before its first row, as much space before the next ones."""

    text: str
    lead: str = ""
    style: str = ""
    wraps: bool = True


def source_lines(lead: str, source: Citation | Evidence, *, whole: bool = False) -> list[Line]:
    """Title and range, place, and words of one source."""
    text = flowing(source.cited_text if isinstance(source, Citation) else source.text)
    where = visible(place(source.uri))
    space = " " * len(lead)
    title = flowing(source.title) or where.rpartition("/")[2]
    return [
        Line(f"{title}, characters {source.start}–{source.end}", lead, "bold"),
        Line(where if source.page is None else f"{where}, page {source.page}", space, "dim", wraps=False),
        Line(f"“{text if whole else _shortened(text)}”", space),
    ]


def citation_lines(citations: Sequence[Citation], *, whole: bool = False) -> list[Line]:
    """The footnotes of an answer, each number once."""
    lines: list[Line] = []
    for number, citation in sorted({c.number: c for c in reversed(citations)}.items()):
        lines += [Line(""), *source_lines(f"[{number}] ", citation, whole=whole)]
    return lines


def nearest_lines(nearest: Sequence[Evidence], *, whole: bool = False) -> list[Line]:
    """The passages shown with a refusal; nothing when there are none."""
    if not nearest:
        return []
    lines = [Line(""), Line("Nearest passages:")]
    for evidence in nearest:
        lines += [Line(""), *source_lines("  - ", evidence, whole=whole)]
    return lines


def answer_lines(answer: Answer) -> list[Line]:
    """All of an answer, or of a refusal."""
    if answer.status == "answered":
        return [Line(flowing(answer.answer)), *citation_lines(answer.citations)]
    return [Line(REFUSAL), *nearest_lines(answer.nearest)]


def _shortened(text: str) -> str:
    if len(text) <= QUOTED_CHARACTERS:
        return text
    cut = text[:QUOTED_CHARACTERS]
    # Scripts without spaces are cut where the limit falls.
    words, _, rest = cut.rpartition(" ")
    return f"{words if words and len(rest) < 40 else cut} …"


class Screen:
    """Results on `out`, everything else on `err`. Only a terminal gets colours, wrapping and movement."""

    def __init__(self, out: TextIO, err: TextIO, *, colours: bool = True) -> None:
        self.out = out
        self.err = err
        self.is_terminal = out.isatty()
        self._shown = _console(out, colours)
        self._notes = _console(err, colours)

    def write(self, text: str) -> None:
        """Text as it is, at once."""
        self.out.write(text)
        self.out.flush()

    def flow(self, text: str, column: int = 0) -> int:
        """A piece of running text from `column` on, at once; a terminal breaks it between words only.

        Returns the column in which it ends, in terminal cells.
        """
        if not self.is_terminal:
            self.write(text)
            return column + len(text)
        pieces: list[str] = []
        for index, word in enumerate(text.split(" ")):
            space = 1 if index else 0
            if column and column + space + cell_len(word) > self._shown.width:
                pieces.append("\n")
                space = column = 0
            pieces.append(" " * space + word)
            column += space + cell_len(word)
        self.write("".join(pieces))
        return column

    def show(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._line(line)
        self.out.flush()

    def note(self, text: str) -> None:
        """A line on `err`. Control characters in it are made visible, so it stays one line."""
        self.err.write(visible(text) + "\n")
        self.err.flush()

    def _line(self, line: Line) -> None:
        if not self.is_terminal or not line.wraps:
            self._styled(Text(line.lead + line.text, line.style if line.text else ""))
            return
        rows = Text(line.text, line.style).wrap(self._shown, max(20, self._shown.width - len(line.lead)))
        for index, row in enumerate(rows or [Text("")]):
            row.rstrip()
            self._styled(Text(line.lead if index == 0 else " " * len(line.lead)).append_text(row))

    def _styled(self, text: Text) -> None:
        self._shown.print(text, soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Waiting]:
        """A spinner on a terminal, nothing elsewhere."""
        waiting = Waiting(self._notes if self.err.isatty() else None, text)
        try:
            yield waiting
        finally:
            waiting.end()

    def progress(self) -> Progress:
        """A bar on a terminal, nothing elsewhere."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[counted]}"),
            TimeRemainingColumn(),
            console=self._notes,
            transient=True,
            disable=not self.err.isatty(),
        )

    def downloads(self) -> Progress:
        """A bar for bytes on a terminal, nothing elsewhere."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=self._notes,
            transient=True,
            disable=not self.err.isatty(),
        )


class Waiting:
    """A line that says what is waited for, until the first words of the answer."""

    def __init__(self, console: Console | None, text: str) -> None:
        self._status = None if console is None else Status(Text(text, "dim"), console=console)
        if self._status is not None:
            self._status.start()

    def say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(Text(text, "dim", no_wrap=True, overflow="ellipsis"))

    def end(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class AnswerView:
    """Shows the events of one answer as they come; the same bytes through a pipe as an answer at once."""

    def __init__(self, screen: Screen, waiting: Waiting, *, streams: bool) -> None:
        self._screen = screen
        self._waiting = waiting
        self._streams = streams
        self._begun = False
        self._column = 0

    def show(self, event: AnswerEvent) -> None:
        if isinstance(event, EvidenceFound):
            self._waiting.say(_reading(event.evidence))
        elif isinstance(event, SentenceVerified):
            if self._streams:
                self._waiting.end()
                text = flowing(event.text)
                self._column = self._screen.flow(f" {text}" if self._begun else text, self._column)
                self._begun = True
        elif isinstance(event, AnswerFinished):
            self._waiting.end()
            if self._begun:
                self._screen.write("\n")
                self._screen.show(citation_lines(event.answer.citations))
            else:
                self._screen.show(answer_lines(event.answer))


class PullView:
    """Shows what a pull is doing: a bar for its bytes, and each remark once."""

    def __init__(self, screen: Screen, progress: Progress) -> None:
        self._screen = screen
        self._progress = progress
        self._task: TaskID | None = None
        self._said: set[str] = set()

    def show(self, model: str, message: str, done: int, total: int | None) -> None:
        # A folder's files come one after the other, from the same wheel: what was said holds for all.
        if message not in self._said:
            self._said.add(message)
            if self._progress.disable:
                self._screen.note(message)
            else:
                self._progress.console.print(Text(visible(message)), soft_wrap=True)
        if self._task is None:
            self._task = self._progress.add_task(visible(model), total=total)
        self._progress.update(self._task, completed=done, total=total)


def _reading(evidence: Sequence[Evidence]) -> str:
    titles = list(dict.fromkeys(flowing(item.title) for item in evidence))
    counted = "1 source" if len(titles) == 1 else f"{len(titles)} sources"
    return f"reading {counted}: {'; '.join(titles)}" if titles else "nothing found"


def _console(stream: TextIO, colours: bool) -> Console:
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if terminal and colours else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
