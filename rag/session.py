"""From settings to a pipeline that can answer: the one place where the parts are put together.

The order is the point. What is cheap to refuse is refused first: a collection that is not there, a model
file of the wrong kind, a collection made with another embedder, a question that is too long. Only then is a
large model fetched, and only then the model's process started, which loads while the embedder does.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from index.addresses import is_address
from index.collection import LocalCollection
from index.embed import HashEmbedder, KeptGraphs, SentenceTransformerEmbedder
from index.engines.opening import create_or_open_at, open_at, open_recorded_at
from index.errors import CollectionNotFound, ModelDamaged, ModelUnavailable
from index.filters import EVERYTHING, Filter
from index.models import CATALOGUE, Kind, ModelStore, PullProgress
from index.remembered import RememberingEmbedder
from index.types import Collection, Embedder, Part
from rag.config import Settings
from rag.gate import load_gate
from rag.generate import ExtractiveGenerator, LlamaGenerator
from rag.pipeline import Pipeline
from rag.question import sound_question
from rag.readings import ReadingStore
from rag.remembering import RememberingGenerator
from rag.types import Generator, Mode, Prompt
from rag.worker_process import given_cores

HASH_EMBEDDER = "hash"
"""As `index.embedder`: the fake that needs no model."""

EXTRACTIVE_MODEL = "extractive"
"""As `rag.model`: the fake that needs no model."""

Notify = Callable[[PullProgress], None]

Model = TypeVar("Model", Embedder, Generator)


def _silent(_: PullProgress) -> None:
    """For callers who do not watch."""


def open_store(settings: Settings) -> ModelStore:
    return ModelStore(settings.models_folder, offline=settings.offline)


def open_embedder(settings: Settings, notify: Notify = _silent) -> Embedder:
    """The embedder of the settings, fetched where it has to be. Raises ModelError."""
    spec = settings.index.embedder
    if spec == HASH_EMBEDDER:
        return HashEmbedder()
    if is_address(spec):
        from rag.elsewhere import embedder_elsewhere  # brings an HTTP client with it

        return embedder_elsewhere(settings)
    store = open_store(settings)
    folder = obtain(settings, spec, "embedder", notify)
    digest = store.digest(spec)
    return SentenceTransformerEmbedder(
        folder,
        fingerprint=_fingerprint(folder, digest),
        batch_size=settings.index.batch_size,
        graphs=KeptGraphs(settings.models_folder, digest, settings.rag.threads or given_cores()),
    )


def prepare_embedder(settings: Settings, embedder: Embedder, notify: Notify = _silent) -> None:
    """Load what embeds before it is needed; `notify` is told of what takes long. Raises ModelError."""
    if isinstance(embedder, SentenceTransformerEmbedder):
        name = settings.index.embedder
        embedder.prepare(lambda message: notify(PullProgress(name, "store", message)))


def embedder_of_actor(settings: Settings) -> Embedder:
    """As `open_embedder`, with one core: another process runs beside it for each of the others."""
    return open_embedder(settings.model_copy(update={"rag": settings.rag.model_copy(update={"threads": 1})}))


def open_generator(settings: Settings, notify: Notify = _silent) -> Generator:
    """The chat model of the settings, fetched where it has to be, its process not yet started."""
    spec = settings.rag.model
    if spec == EXTRACTIVE_MODEL:
        return ExtractiveGenerator()
    if is_address(spec):
        from rag.elsewhere import generator_elsewhere  # brings an HTTP client with it

        return generator_elsewhere(settings)
    path = obtain(settings, spec, "chat", notify)
    is_path = spec not in CATALOGUE and not spec.startswith("hf:")
    return LlamaGenerator(
        path,
        name=path.stem if is_path else spec,
        digest=open_store(settings).digest(spec),
        context_tokens=settings.rag.context_tokens,
        threads=settings.rag.threads,
        readings=open_readings(settings),
    )


def is_file(model: str) -> bool:
    """Whether a model of the settings is one that is fetched, or was, rather than a fake or an endpoint."""
    return model not in {EXTRACTIVE_MODEL, HASH_EMBEDDER} and not is_address(model)


def opened(stack: ExitStack, model: Model) -> Model:
    """The same, to be closed with the stack where there is anything to close."""
    if isinstance(model, AbstractContextManager):
        stack.enter_context(model)
    return model


def open_readings(settings: Settings) -> ReadingStore:
    return ReadingStore(settings.collection_folder / "readings", max_bytes=settings.rag.readings_bytes)


def open_collection(settings: Settings, embedder: Embedder, *, must_exist: bool = True) -> Collection:
    """Raises CollectionNotFound where it has to exist, EmbedderMismatch, CollectionDamaged, SchemaTooNew."""
    if settings.address is not None:
        if must_exist:
            return open_at(settings.address, embedder)
        return create_or_open_at(settings.address, embedder, settings.index)
    if must_exist:
        return LocalCollection.open(settings.collection_folder, embedder)
    return LocalCollection.create_or_open(settings.collection_folder, embedder, settings.index)


def require_collection(settings: Settings) -> None:
    """Raises CollectionNotFound and what else keeps a collection shut, without an embedder."""
    open_recorded(settings).close()


def open_recorded(settings: Settings) -> Collection:
    """The collection without its embedder: nothing can be searched or added. Raises as `open_collection`."""
    if settings.address is not None:
        return open_recorded_at(settings.address)
    try:
        return LocalCollection.open_recorded(settings.collection_folder)
    except CollectionNotFound as error:
        raise _named(settings, error) from None


def _named(settings: Settings, error: CollectionNotFound) -> CollectionNotFound:
    """The same error with the command that makes this very collection."""
    if settings.collection == "default":
        return error
    command = f"footnote index -c {shlex.quote(settings.collection)} PATH"
    return CollectionNotFound(str(error).replace("footnote index PATH", command))


def obtain(settings: Settings, spec: str, kind: Kind, notify: Notify = _silent) -> Path:
    """The verified path of a model, fetched after `notify` was told what and how large it is."""
    store = open_store(settings)
    try:
        return store.locate(spec, kind)
    except (ModelUnavailable, ModelDamaged):
        entry = CATALOGUE.get(spec)
        if not settings.offline and (entry or spec.startswith("hf:")):
            size = entry.bytes if entry else None
            message = f"fetching {spec}{f' ({in_bytes(size)})' if size else ''} into {settings.models_folder}"
            notify(PullProgress(spec, "store", message, 0, size))
        store.pull(spec, notify)
        return store.locate(spec, kind)


def in_bytes(count: int) -> str:
    """A size for people, in powers of a thousand: "491 MB"."""
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] == "GB" else f"{size:.0f} {units[0]}"


@dataclass(slots=True)
class Session:
    """What answers questions, and what has to be closed afterwards. Use it in a `with` statement."""

    settings: Settings
    collection: Collection
    embedder: Embedder
    generator: Generator | None
    pipeline: Pipeline
    narrowed: Part | None = None
    """What the pipeline sees of the collection, where that is not all of it."""
    _closing: ExitStack = field(default_factory=ExitStack, repr=False)
    _elsewhere: ExitStack = field(default_factory=ExitStack, repr=False)
    _process: LlamaGenerator | None = field(default=None, repr=False)

    def leave(self, prompt: Prompt) -> None:
        """Let the model's process go on alone: it reads this section for the next question, and ends."""
        if self._process is not None:
            self._process.leave(prompt)

    def let_go(self) -> None:
        """End what is under way on endpoints and in the model's process, which may say nothing for long, as
        while a model is loaded. They can be asked no more."""
        self._elsewhere.close()
        if self._process is not None:
            self._process.close()

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where Ctrl-C struck may still hold the generator's turn, and closing it would wait for ever. Its
        # process ends by itself when this one does.
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.collection.close()
        else:
            self.close()


def open_session(
    settings: Settings,
    mode: Mode = "compose",
    *,
    question: str | None = None,
    notify: Notify = _silent,
    must_exist: bool = True,
    chosen: Filter = EVERYTHING,
) -> Session:
    """Everything that answers questions, the model's process started. In quote mode there is no model.

    A `question` that is to come first is checked before any model is loaded; a collection that does not have
    to exist is made, empty. With `chosen`, only the documents that pass are looked at. Raises QuestionError,
    CollectionError, ModelError, UnknownFilter, and UsageError for a gate that cannot be used.
    """
    limit = settings.rag.question_tokens
    if question is not None:
        sound_question(question, limit=limit)
    gate = load_gate(settings.rag.gate)
    if must_exist:
        require_collection(settings)
    if mode == "compose":
        _refuse_unsuitable(settings)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(ExitStack())
        embedder = opened(elsewhere, open_embedder(settings, notify))
        collection = stack.enter_context(open_collection(settings, embedder, must_exist=must_exist))
        if question is not None:
            sound_question(question, limit=limit, count_tokens=embedder.count_tokens)
        narrowed = collection.narrowed(chosen) if chosen else None
        if narrowed is not None:
            narrowed.count()  # a filter that cannot be is said before a model is fetched
        generator = open_generator(settings, notify) if mode == "compose" else None
        process = generator if isinstance(generator, LlamaGenerator) else None
        if process is not None:
            stack.enter_context(process)
            process.start()
        elif generator is not None:
            opened(elsewhere, generator)
        prepare_embedder(settings, embedder, notify)  # while the model's process loads
        embedder = RememberingEmbedder(embedder)
        if generator is not None and not is_address(settings.rag.model):
            generator = RememberingGenerator(generator)
        pipeline = Pipeline(narrowed or collection, embedder, generator, settings.rag, gate)
        return Session(
            settings, collection, embedder, generator, pipeline, narrowed, stack.pop_all(), elsewhere, process
        )


def _refuse_unsuitable(settings: Settings) -> None:
    """Raises ModelError for a chat model that could not serve even if it were fetched."""
    if not is_file(settings.rag.model):
        return
    try:
        open_store(settings).locate(settings.rag.model, "chat")
    except (ModelUnavailable, ModelDamaged):
        if settings.rag.model not in CATALOGUE and not settings.rag.model.startswith("hf:"):
            raise


def _fingerprint(folder: Path, digest: str) -> str:
    """A catalogue model keeps its name wherever it lies; another is called by its folder."""
    known = next((entry.name for entry in CATALOGUE.values() if entry.sha256 == digest), folder.name)
    return f"{known}:{digest[:12]}"
