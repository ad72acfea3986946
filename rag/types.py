"""The values that pass between the steps of an answer, and the Generator protocol.

Offsets are Unicode code points, zero-based, end exclusive: into `Document.text` for `start` and
`end`, into `Answer.answer` for what is named `answer_start` and `answer_end`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["user", "assistant"]
Status = Literal["answered", "unanswerable"]
Mode = Literal["compose", "quote"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sentence of a document, numbered (from 1) as the model and the reader see it.

    `score` is its retrieval score against the question: larger is better, comparable within one
    question only. `sha256` is the digest of the document's whole text.
    """

    number: int
    document_id: str
    title: str
    uri: str
    page: int | None
    start: int
    end: int
    text: str
    score: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A range of the answer tied to a range of a document.

    The same document range keeps the same `number` throughout an answer, so a range that carries
    two sentences stands twice in `Answer.citations`, once for each.
    """

    number: int
    document_id: str
    title: str
    uri: str
    page: int | None
    start: int
    end: int
    cited_text: str
    sha256: str
    answer_start: int
    answer_end: int


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A range of the answer, footnote numbers included, and the numbers of the citations that carry it.

    `score` in [0, 1]: the weighted share of the sentence's content that the cited text covers.
    """

    start: int
    end: int
    verdict: Literal["supported"]
    score: float
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Withheld:
    """A sentence that the model drafted and the check did not let through, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model worked on, summed over all that a question asks of it.

    `cached_tokens` of the prompts were read before and not again.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds since the question was asked; 0 where the step did not happen."""

    retrieve: int = 0
    first_evidence: int = 0
    first_token: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The finished answer, the same object in every interface."""

    status: Status
    answer: str
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    nearest: tuple[Evidence, ...]
    withheld: tuple[Withheld, ...]
    reason: str
    question: str
    model: str
    collection: str
    usage: Usage
    timings_ms: Timings


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """The sources, before the model has written a word."""

    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class SentenceVerified:
    """One sentence that passed the check, with its footnote numbers in `text`, at its place in the answer.

    Its `start` is where it begins in the finished answer: the text between sentences is one space.
    """

    text: str
    sentence: AnswerSentence
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    answer: Answer


AnswerEvent = EvidenceFound | SentenceVerified | AnswerFinished


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given. `instructions` and `context` come first and can be read ahead and saved;
    `question` is what differs from one question to the next. All three are data: nothing in them
    becomes a control token of the model's chat template. `reply` begins the model's own turn.
    `document_id` names the document of which `context` is a section; empty where it is none, since
    only sections are worth keeping."""

    instructions: str
    context: str
    question: str = ""
    reply: str = ""
    document_id: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a draft as it is written; the last one carries the usage and why it ended."""

    text: str
    usage: Usage | None = None
    stop: Literal["", "end", "length", "cancelled"] = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The log-probability of each choice's first token as the reply's next token, and what that cost."""

    scores: tuple[float, ...]
    usage: Usage = Usage()


class Generator(Protocol):
    """A chat model that writes. One question at a time; a second caller waits."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, or what else names them for good."""
        ...

    @property
    def context_tokens(self) -> int: ...

    def count_tokens(self, text: str) -> int: ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        grammar: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Piece]:
        """Pieces of text, never torn inside a character; the last has `usage`. Raises ModelError."""
        ...

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        """How likely the reply begins with each of the choices. Raises ModelError."""
        ...

    def has_reading(self, prompt: Prompt) -> bool:
        """Whether instructions and context are read already: in memory or saved on disk."""
        ...

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Read instructions and context and save the reading; False if cancelled. Costs seconds."""
        ...
