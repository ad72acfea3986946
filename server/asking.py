"""One question from its admission to its last event: the queue, the threads, and what is left behind."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

from index.errors import EndpointFailed, FootnoteError, UnknownFilter
from index.filters import Filter
from index.types import Searchable
from rag.condense import leans
from rag.config import RagSettings
from rag.errors import GenerationCancelled, QuestionError, QuestionTooLong, WorkerFailed
from rag.pipeline import Pipeline
from rag.question import CHARACTERS_PER_TOKEN, sound_question
from rag.types import Answer, AnswerEvent, AnswerFinished, Mode, Turn
from server.admission import Place
from server.errors import DocumentsChanged, Stopping
from server.standing import still_standing
from server.state import ServerState

LOG = logging.getLogger("footnote.server")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it came, in whichever shape. `param` is the field of the request that it stood in."""

    question: str
    history: tuple[Turn, ...]
    mode: Mode
    top: int | None
    filter: Filter
    rag: RagSettings
    param: str
    request_id: str


async def answering(
    state: ServerState, asked: Asked, *, is_shown: bool = True
) -> AsyncGenerator[AnswerEvent]:
    """The events of the answer. The first comes before the model is waited for, unless it has to be asked.

    Close it when nobody wants the rest: what is being done for it ends then. Unless `is_shown`, it may begin
    again when a document was removed that it had spoken of. Raises FootnoteErrors, before the first event
    those that speak against the question.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        has_begun = False
        course = Course(state, asked)
        try:
            async with contextlib.aclosing(_attempt(state, asked, course)) as events:
                async for event in events:
                    has_begun = is_shown
                    yield event
            return
        except DocumentsChanged as error:
            # Nothing was said yet of a document that is no more: the others are looked at instead.
            if has_begun or not attempts_left:
                course.failed(error)
                raise


async def _attempt(state: ServerState, asked: Asked, course: Course) -> AsyncGenerator[AnswerEvent]:
    try:
        async with contextlib.aclosing(course.events()) as events:
            async for event in events:
                yield event
    except GenerationCancelled:
        course.end("cancelled")
        if state.cut_off.is_set():
            raise Stopping("the server is being stopped: ask again when it is back") from None
        raise
    except DocumentsChanged:
        raise  # it is one question, however often it is asked: whoever gives up counts it
    except FootnoteError as error:
        course.failed(error)
        if isinstance(error, QuestionError):
            error.param = asked.param
        if isinstance(error, UnknownFilter):
            place = "filters" if asked.param == "question" else "footnote.filters"
            error.param = f"{place}.{error.param}"
        raise
    except Exception:
        course.end("failed")
        raise
    except BaseException:
        course.end("cancelled")
        raise


class Course:
    """How one question is answered, and what is noted of it."""

    def __init__(self, state: ServerState, asked: Asked) -> None:
        self._state = state
        self._asked = asked
        self._began = time.monotonic()
        self._unwanted = threading.Event()
        self._place = Place()
        self._composes = asked.mode == "compose" and state.session.generator is not None
        self._admission = state.admission if self._composes else state.quoting
        self._waited_s = 0.0
        self._evidence_s = 0.0
        self._had_turn = False
        self._has_ended = False

    async def events(self) -> AsyncGenerator[AnswerEvent]:
        self._refuse_hopeless()
        state, pipeline = self._state, self._pipeline()
        try:
            with self._admission.place() as place:
                self._place = place
                if self._composes:
                    state.model.hush()
                async with contextlib.aclosing(self._admitted(pipeline)) as events:
                    async for event in events:
                        self._note(event)
                        yield event
        except (WorkerFailed, EndpointFailed) as error:
            state.failed(error)
            raise
        finally:
            is_idle = self._admission.is_idle
            # Whoever had no turn waits for nobody's: the model's thread is another's, or nobody reads on.
            if self._composes and (self._had_turn or is_idle):
                await state.model.answered(pipeline.unread, idle=is_idle)

    async def _admitted(self, pipeline: Pipeline) -> AsyncGenerator[AnswerEvent]:
        asked, state = self._asked, self._state
        steps = still_standing(
            pipeline.stream(
                asked.question, asked.history, mode=asked.mode, top=asked.top, cancelled=self._cancelled
            ),
            state.session.collection,
        )
        try:
            if self._composes and await state.search(self._leans, give_up=self._give_up):
                # To understand the question the model is needed already.
                async with self._turn():
                    while (event := await self._step(state.model.run, steps)) is not None:
                        yield event
                return
            first = await self._step(state.search, steps) if self._composes else None
            if first is not None:
                yield first
            async with self._turn():
                run = state.model.run if self._composes else state.search
                while (event := await self._step(run, steps)) is not None:
                    yield event
        finally:
            self._unwanted.set()
            _close(steps)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        began = time.monotonic()
        async with self._admission.turn(self._place):
            self._waited_s = time.monotonic() - began
            self._state.metrics.wait_seconds.observe(self._waited_s)
            self._had_turn = True
            if self._composes:
                await self._state.model.interrupt()
            yield

    async def _step(self, run: Callable[..., object], steps: Iterator[AnswerEvent]) -> AnswerEvent | None:
        """The next event, None after the last."""
        found: AnswerEvent | None = await run(next, steps, None, give_up=self._give_up)  # type: ignore[misc]
        return found

    def _give_up(self) -> None:
        """Nobody wants it any more: the model is told, and the place is another's at once."""
        self._unwanted.set()
        self._admission.leave(self._place)

    def _cancelled(self) -> bool:
        return self._unwanted.is_set() or self._state.cut_off.is_set()

    def _refuse_hopeless(self) -> None:
        """What no tokenizer has to be asked for. Raises QuestionError."""
        asked = self._asked
        sound_question(asked.question, limit=asked.rag.question_tokens)
        most = CHARACTERS_PER_TOKEN * asked.rag.context_tokens
        characters = sum(len(turn.content) for turn in asked.history[-TURNS:])
        if characters > most:
            raise QuestionTooLong(
                f"the last turns of the conversation have {characters} characters, the limit is "
                f"{asked.rag.context_tokens} tokens: begin a new one"
            )

    def _leans(self) -> bool:
        return bool(self._asked.history) and leans(self._asked.question)

    def _pipeline(self) -> Pipeline:
        session, asked = self._state.session, self._asked
        collection: Searchable = session.collection
        if asked.filter:
            collection = session.collection.narrowed(asked.filter)
        return Pipeline(collection, session.embedder, session.generator, asked.rag, self._state.gate)

    # -- what is noted --------------------------------------------------------------------------

    def _note(self, event: AnswerEvent) -> None:
        metrics = self._state.metrics
        if not self._evidence_s:
            self._evidence_s = self._elapsed_s()
            metrics.evidence_seconds.observe(self._evidence_s)
        if isinstance(event, AnswerFinished):
            metrics.answer_seconds.observe(self._elapsed_s())
            metrics.count_tokens(event.answer.usage)
            usage = event.answer.usage
            if self._composes and (usage.completion_tokens or usage.cached_tokens < usage.prompt_tokens):
                # Not out of memory: the model itself has answered.
                self._state.not_ready = None
            self.end(event.answer.status, event.answer)

    def failed(self, error: FootnoteError) -> None:
        self._state.metrics.refused.labels(error.code).inc()
        self.end("failed")

    def end(self, outcome: str, answer: Answer | None = None) -> None:
        """One line in the log, without the question unless that is asked for."""
        if self._has_ended:
            return
        self._has_ended = True
        self._state.metrics.answers.labels(outcome).inc()
        noted: dict[str, object] = {
            "request_id": self._asked.request_id,
            "outcome": outcome,
            "mode": "compose" if self._composes else "quote",
            "waited_ms": round(self._waited_s * 1000),
            "evidence_ms": round(self._evidence_s * 1000),
            "total_ms": round(self._elapsed_s() * 1000),
        }
        if answer is not None:
            noted["prompt_tokens"] = answer.usage.prompt_tokens
            noted["completion_tokens"] = answer.usage.completion_tokens
        if self._state.server.log_questions:
            noted["question"] = self._asked.question
        LOG.info("answer", extra=noted)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


ATTEMPTS = 3
"""How often a question is asked while documents are removed under it."""

TURNS = 4
"""So many turns of the history are read, see `rag.condense`."""


def _close(steps: Iterator[AnswerEvent]) -> None:
    """Between two steps nothing is open that closing could wait for."""
    close = getattr(steps, "close", None)
    if close is not None:
        close()
