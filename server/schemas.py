"""What comes in as JSON to be answered. Strict: "5" is no number, and 1 is not true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from index.filters import Filter
from rag.types import Mode, Role

MOST_TURNS = 200
MOST_TOP = 50


def _whole(number: Any) -> Any:
    """JSON knows one kind of number: 5.0 is the integer 5."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Integer = Annotated[int, BeforeValidator(_whole)]
DocumentId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


Words = Annotated[str, Field(min_length=1, max_length=1000)]
Chosen = Annotated[list[Words], Field(min_length=1, max_length=100)]
_WORDS = {"type": "string", "minLength": 1, "maxLength": 1000}
OneOrMore = Annotated[
    Chosen,
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    WithJsonSchema({"anyOf": [_WORDS, {"type": "array", "items": _WORDS, "minItems": 1, "maxItems": 100}]}),
]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$")]


class Filters(BaseModel):
    """Narrows down what is searched. A filter that is not known is refused: it would be a filter ignored.

    A document has to pass each filter given; of several values of one filter, one is enough.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"paths": ["/home/me/letters"], "since": "2024-03"},
                {"tags": ["work"], "metadata": {"author": "Clara Zetterlund"}},
            ]
        },
    )

    document_ids: list[DocumentId] | None = Field(
        None, min_length=1, max_length=1000, description="only these documents"
    )
    paths: Chosen | None = Field(
        None,
        description="files, or folders with all that is in them: absolute, the beginning of a URI, or whole "
        "names anywhere in a path, as letters/2024",
    )
    titles: Chosen | None = Field(None, description="parts of titles, whatever their case")
    tags: Chosen | None = Field(None, description="tags of the documents' front matter")
    since: Day | None = Field(
        None,
        description="a day, month or year: of the document's own date, else of its file's last change (UTC)",
    )
    until: Day | None = Field(None, description="as `since`; the day itself is included")
    metadata: dict[Words, OneOrMore] | None = Field(
        None,
        max_length=20,
        description="what the documents say of themselves: author, language, any front matter",
    )

    def chosen(self) -> Filter:
        metadata = (self.metadata or {}).items()
        return Filter(
            ids=frozenset(self.document_ids or ()),
            paths=tuple(self.paths or ()),
            titles=tuple(self.titles or ()),
            tags=tuple(self.tags or ()),
            since=self.since or "",
            until=self.until or "",
            metadata=tuple((name, value) for name, values in metadata for value in values),
        )


class HistoryTurn(BaseModel):
    """One earlier message of the conversation."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Role
    content: str


class AskRequest(BaseModel):
    """A question to the documents."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "Where did the BRICS leaders meet?"},
                {
                    "question": "And who spoke there?",
                    "history": [
                        {"role": "user", "content": "Where did the BRICS leaders meet?"},
                        {"role": "assistant", "content": "They met in Kazan [1]."},
                    ],
                    "mode": "quote",
                    "top": 5,
                },
            ]
        },
    )

    question: str = Field(min_length=1)
    history: list[HistoryTurn] = Field(default=[], max_length=MOST_TURNS, description="oldest first")
    mode: Mode = Field("compose", description="quote answers with the documents' own sentences, no model")
    collection: str | None = Field(None, description="the name of the collection that is served")
    filters: Filters | None = None
    top: Integer | None = Field(None, ge=1, le=MOST_TOP, description="number of sources to look at")


class FootnoteOptions(BaseModel):
    """What the OpenAI interface has no field for."""

    model_config = ConfigDict(strict=True, extra="forbid")

    mode: Mode = "compose"
    collection: str | None = None
    filters: Filters | None = None
    top: Integer | None = Field(None, ge=1, le=MOST_TOP)


def _text(content: Any) -> Any:
    """A message's content as one string: text parts are joined."""
    if content is None:
        return ""
    if not isinstance(content, Sequence) or isinstance(content, str | bytes):
        return content
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError('each part should be {"type": "text", "text": "…"}: nothing else is read here')
        texts.append(part["text"])
    return "\n".join(texts)


Content = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type", "text"],
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                    },
                },
                {"type": "null"},
            ]
        }
    ),
]


class Message(BaseModel):
    """Messages of system, developer and tools are taken and not read: the documents alone are."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: Content = ""


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = False


def _stops(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_STOP = {"type": "string", "minLength": 1, "maxLength": 200}

Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(max_length=4),
    BeforeValidator(_stops),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": 4}]}),
]


class ChatRequest(BaseModel):
    """As OpenAI describes it. Fields that are not named here are taken and have no effect."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "footnote",
                    "messages": [{"role": "user", "content": "Where did the BRICS leaders meet?"}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "footnote": {"mode": "compose"},
                }
            ]
        },
    )

    model: str | None = Field(
        None, description="`footnote-quote` quotes; any other name is the model that is"
    )
    messages: list[Message] = Field(min_length=1, max_length=MOST_TURNS, description="the last one asks")
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Integer | None = Field(
        None, ge=1, le=131072, description="of the draft; the server has a limit too"
    )
    max_completion_tokens: Integer | None = Field(None, ge=1, le=131072)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    seed: Integer | None = Field(None, ge=-(2**63), le=2**63 - 1)
    n: Integer | None = Field(1, ge=1, le=1, description="one answer at a time")
    stop: Stops | None = None
    footnote: FootnoteOptions | None = None
