"""How gold files are read, whatever their format: line by line, noting all that is wrong before giving up."""

from __future__ import annotations

import dataclasses
import hashlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from index.errors import DocumentError
from index.readers import read_bytes, read_path
from rag.gold_types import GoldDocument, GoldError, GoldFormat, GoldSet, Problem, Question
from rag.spans import Span

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
_Model = TypeVar("_Model", bound=BaseModel)


class Record(BaseModel):
    """What a published file holds; fields that are of no use here are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class OwnRecord(BaseModel):
    """What our own format holds, and nothing else: a misspelled field would be lost in silence."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Gathering:
    """What is read from a gold file so far: its bytes, its documents, its questions, and what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.questions: list[Question] = []
        self._documents: dict[str, GoldDocument] = {}
        self._problems: list[Problem] = []
        self._places: dict[str, str] = {}
        self._digest = hashlib.sha256()

    def wrong(self, place: str, reasons: Iterable[str]) -> None:
        self._problems += [Problem(place, reason) for reason in reasons]

    def stop_if_wrong(self) -> None:
        if self._problems:
            # A whole file of one format, read as another: it has many lines, and none that has an id.
            hint = "" if self._places else "; if it is of another format, name that with --format"
            raise GoldError(self._name, self._problems, hint)

    def refuse(self, reason: str) -> GoldError:
        return GoldError(self._name, [*self._problems, Problem("", reason)])

    def read(self, path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise self.refuse(f"{path} cannot be read: {reason}") from error
        self._digest.update(data)
        return data

    def files(self) -> list[Path]:
        """The .jsonl files of a folder, in the order of their names; else the file itself."""
        if not self.path.is_dir():
            return [self.path]
        found = sorted(self.path.glob("*.jsonl"))
        if not found:
            raise self.refuse("there is no .jsonl file in this folder")
        return found

    def lines(self, model: type[_Model]) -> Iterator[tuple[str, _Model]]:
        """Each line that is of this shape, with its place; the others are noted. Empty lines are none."""
        for file in self.files():
            prefix = "" if file == self.path else f"{file.name} "
            # Bytes are split, not text: U+2028 ends no line of JSON.
            for number, line in enumerate(self.read(file).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
                place = f"{prefix}line {number}"
                if not line.strip():
                    continue
                try:
                    yield place, model.model_validate_json(line)
                except ValidationError as error:
                    # Each line is read by itself, so where pydantic says "at line 1" it is at this one.
                    self.wrong(
                        place, [one.replace(" at line 1 column ", " at column ") for one in reasons_of(error)]
                    )

    def is_new(self, place: str, id: str) -> bool:
        """Whether no earlier question or claim has this id; else that is noted."""
        if id in self._places:
            self.wrong(place, [f"the id {id} is that of {self._places[id]}"])
            return False
        self._places[id] = place
        return True

    def add_text(
        self, name: str, title: str, text: str, paragraphs: Sequence[tuple[int, int]]
    ) -> GoldDocument:
        """A document out of text that stands in the gold file itself. Raises DocumentError."""
        uri = f"{self.path.absolute().as_uri()}#{urllib.parse.quote(name)}"
        document = read_bytes(text.encode("utf-8"), name=f"{name}.txt", uri=uri)
        if document.text != text:
            raise DocumentError(f"the text of {name} begins with a byte order mark: take it off")
        named = dataclasses.replace(document, title=title or document.title)
        spans = tuple(Span(named.id, start, end) for start, end in paragraphs)
        return self._documents.setdefault(named.id, GoldDocument(name, named, spans))

    def add_file(self, name: str) -> GoldDocument:
        """A document that lies beside the gold file. Raises DocumentError."""
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise DocumentError(f"the document {name} does not lie beside the gold file: name one that does")
        folder = self.path if self.path.is_dir() else self.path.parent
        document = read_path(folder.absolute() / name)
        return self._documents.setdefault(document.id, GoldDocument(name, document))

    def finished(self, format: GoldFormat) -> GoldSet:
        self.stop_if_wrong()
        if not self.questions:
            raise self.refuse("there is no question in it")
        documents = tuple(self._documents.values())
        if not documents:
            raise self.refuse(
                "it names no document, so there is nothing that its questions could be asked of"
            )
        for document in documents:
            self._digest.update(document.document.sha256.encode("ascii"))
        return GoldSet(PurePath(self._name).stem, format, tuple(self.questions), documents, self.digest)

    @property
    def _name(self) -> str:
        return self.path.absolute().name

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


def unused_name(name: str, taken: set[str]) -> str:
    """`name`, or with the first number that makes it differ from all taken; it is taken then."""
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name} ({number})"
    taken.add(chosen)
    return chosen


def reasons_of(error: ValidationError) -> list[str]:
    details = error.errors(include_url=False)
    return [": ".join(filter(None, (json_path(detail["loc"]), detail["msg"]))) for detail in details]


def json_path(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def shortened(text: str) -> str:
    """A quotation for a message: one line, its beginning."""
    flat = " ".join(text.split())
    return f"“{flat}”" if len(flat) <= 50 else f"“{flat[:49]}…”"
