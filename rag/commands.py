"""What each command of `footnote` does. Returns exit codes; what goes wrong is raised.

`rag.cli` declares the commands and imports this module only when one of them runs, since the index and the
pipeline behind it take longer to import than `--help` should take.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.catalog import Catalog
from index.check import check
from index.engines.opening import Ingest, check_at, over_ray
from index.errors import FootnoteError, ModelError, UnreadableDocument, UsageError
from index.filters import Filter
from index.models import CATALOGUE, ModelStatus, PullProgress
from rag.chat import Chat, typed_lines
from rag.config import Settings
from rag.jsonform import answer_object, dumps, event_object
from rag.present import AnswerView, PullView, Screen
from rag.session import (
    Session,
    embedder_of_actor,
    in_bytes,
    is_file,
    open_collection,
    open_embedder,
    open_readings,
    open_session,
    open_store,
    opened,
    prepare_embedder,
)
from rag.typed import question_of
from rag.types import Answer, AnswerFinished, Mode
from rag.visible import visible

if TYPE_CHECKING:
    from index.ingest import IngestProgress, IngestReport

ANSWERED, FAILED, COLLECTION, MODEL, UNANSWERABLE = 0, 1, 3, 4, 5


# -- index and check ----------------------------------------------------------------------------


def index(
    settings: Settings,
    screen: Screen,
    paths: Sequence[Path],
    *,
    follows: bool = False,
    ray: str | None = None,
) -> int:
    # The readers of PDF, DOCX and HTML take as long to import as all else that a question needs.
    from index.ingest import index_paths
    from rag.following import follow, not_read

    ingest = None if ray is None else _over_ray(settings, ray, follows=follows)
    for path in paths:
        # Before a model is fetched for nothing.
        if not path.exists():
            raise UnreadableDocument(f"{path} does not exist: check the path.")
    with contextlib.ExitStack() as stack:
        with pulling(screen) as notify:
            embedder = opened(stack, open_embedder(settings, notify))
            if ingest is None:
                prepare_embedder(settings, embedder, notify)
        collection = stack.enter_context(open_collection(settings, embedder, must_exist=False))
        try:
            with _indexing(screen) as on_event:
                report = (ingest or index_paths)(collection, paths, settings.index, on_event)
        except KeyboardInterrupt:
            screen.note("Interrupted. What was finished is kept; the same command goes on from there.")
            raise
        open_readings(settings).keep_only({info.id for info in collection.documents()})
        for failure in report.failed:
            screen.note(not_read(*failure))
        screen.write(_summary(report) + "\n")
        if follows:
            follow(settings, screen, collection, paths, said=report.failed)
    return FAILED if report.failed else ANSWERED


def _over_ray(settings: Settings, ray: str, *, follows: bool) -> Ingest:
    """As `index_paths`, over the cluster at this address. Raises UsageError where that cannot be."""
    if settings.address is None:
        raise UsageError(
            "--ray needs a collection in a database, which all machines reach: name one with "
            "-c postgresql://HOST/DATABASE"
        )
    if follows:
        raise UsageError("--watch follows folders from one machine, and --ray works on many: use one of them")
    return over_ray(ray, settings.address, partial(embedder_of_actor, settings))


@contextlib.contextmanager
def _indexing(screen: Screen) -> Iterator[Callable[[IngestProgress], None]]:
    with screen.progress() as progress:
        task = progress.add_task("indexing", total=None, counted="")

        def on_event(event: IngestProgress) -> None:
            counted = f"{event.files}/{event.files_total} files, {event.passages} passages"
            progress.update(task, completed=event.files, total=event.files_total, counted=counted)

        yield on_event


def _summary(report: IngestReport) -> str:
    parts = [
        f"{report.added} added",
        f"{report.updated} updated",
        f"{report.unchanged} unchanged",
        f"{report.removed} removed",
        f"{report.passed_over} passed over",
    ]
    if report.ignored:
        parts.append(f"{report.ignored} ignored")
    if report.failed:
        parts.append(f"{len(report.failed)} not readable")
    return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_collection(settings: Settings, screen: Screen, *, repair: bool) -> int:
    folder = settings.collection_folder
    fingerprint = None
    offline = settings.model_copy(update={"offline": True})
    # What is stored can be checked without the model.
    with contextlib.suppress(ModelError), contextlib.ExitStack() as stack:
        fingerprint = opened(stack, open_embedder(offline)).fingerprint
    if settings.address is not None:
        findings, held_there = check_at(settings.address, fingerprint, repair)
        documents, passages = held_there.documents, held_there.passages
    else:
        with contextlib.closing(Catalog(folder)) as catalog, catalog.reading() as reader:
            totals = reader.totals()
        findings = check(folder, fingerprint, repair)
        documents, passages = totals.documents, totals.passages
    for finding in findings:
        mark = "repaired: " if finding.repaired else ""
        screen.write(visible(mark + finding.what) + "\n")
    left = [finding for finding in findings if not finding.repaired]
    if any(finding.severity == "derived" for finding in left) and not repair:
        screen.note("footnote: what is derived can be made again: run footnote check --repair")
    if not left:
        held = f"{counted(documents, 'document')}, {counted(passages, 'passage')}"
        screen.write(f"{visible(str(settings.address or folder))} is sound: {held}\n")
    return COLLECTION if left else ANSWERED


# -- ask and chat -------------------------------------------------------------------------------


def ask(
    settings: Settings,
    screen: Screen,
    words: Sequence[str],
    *,
    mode: Mode,
    top: int | None,
    chosen: Filter,
    as_json: bool,
    streams: bool,
) -> int:
    question = question_of(settings, screen, words)
    with pulling(screen) as notify:
        session = open_session(settings, mode, question=question, notify=notify, chosen=chosen)
    with session:
        _say_if_none(session, screen)
        answer = _answered(session, screen, question, mode, top, as_json=as_json, streams=streams)
        screen.out.flush()
        unread = session.pipeline.unread
        if unread is not None and settings.rag.read_ahead and mode == "compose":
            session.leave(unread)
    return ANSWERED if answer.status == "answered" else UNANSWERABLE


def _answered(
    session: Session,
    screen: Screen,
    question: str,
    mode: Mode,
    top: int | None,
    *,
    as_json: bool,
    streams: bool,
) -> Answer:
    events: Any = session.pipeline.stream(question, mode=mode, top=top)
    # Closed at once when something breaks off: until then it holds the generator's turn.
    with screen.waiting("searching") as waiting, contextlib.closing(events):
        view = AnswerView(screen, waiting, streams=streams or screen.is_terminal)
        for event in events:
            if not as_json:
                view.show(event)
            elif streams:
                screen.write(dumps(event_object(event)) + "\n")
            if isinstance(event, AnswerFinished):
                waiting.end()
                if as_json and not streams:
                    screen.write(dumps(answer_object(event.answer)) + "\n")
                answer: Answer = event.answer
    return answer


def chat(settings: Settings, screen: Screen, *, mode: Mode, top: int | None, chosen: Filter) -> int:
    with pulling(screen) as notify:
        session = open_session(settings, mode, notify=notify, chosen=chosen)
    with session, typed_lines(sys.stdin, screen, settings.home / "chat_history") as read_line:
        # Its model loads while the first question is typed. Not a daemon: torch must not be cut off.
        warming = threading.Thread(target=_warm_up, args=(session,), name="warm-up")
        warming.start()
        _say_if_none(session, screen)
        if screen.is_terminal and sys.stdin.isatty():
            looked_at = session.narrowed or session.collection
            held = counted(len(looked_at.documents()), "document")
            screen.note(f"{held} in {session.collection.name}. Ask, or type /help.")
        Chat(session, screen, read_line, mode=mode, top=top).run()
    return ANSWERED


def _say_if_none(session: Session, screen: Screen) -> None:
    if session.narrowed is not None and not session.narrowed.count():
        screen.note("footnote: no document passes the filters")


def _warm_up(session: Session) -> None:
    with contextlib.suppress(FootnoteError):  # the first question meets it again, where it can be said
        session.embedder.embed(["ready"])


# -- models -------------------------------------------------------------------------------------


def list_models(settings: Settings, screen: Screen) -> int:
    statuses = open_store(settings).statuses()
    rows = [_row(status) for status in statuses]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        screen.write("  ".join(cells).rstrip() + "\n")
    return ANSWERED


def _row(status: ModelStatus) -> tuple[str, ...]:
    state = "not here" if not status.present else "verified" if status.verified else "not verified"
    name = visible(status.name) + (" (default)" if status.default else "")
    return name, status.kind, in_bytes(status.bytes), state, status.licence


def pull_models(settings: Settings, screen: Screen, names: Sequence[str]) -> int:
    store = open_store(settings)
    for name in names or _needed(settings):
        with pulling(screen) as notify:
            path = store.pull(name, notify)
            if name in CATALOGUE and CATALOGUE[name].kind == "embedder":
                wanted = settings.model_copy(
                    update={"index": settings.index.model_copy(update={"embedder": name})}
                )
                prepare_embedder(wanted, open_embedder(wanted, notify), notify)
        screen.write(f"{visible(name)}  {visible(str(path))}\n")
    return ANSWERED


def verify_models(settings: Settings, screen: Screen, names: Sequence[str]) -> int:
    store = open_store(settings)
    here = [status.name for status in store.statuses() if status.present]
    if not (names or here):
        screen.note(f"No model is in {settings.models_folder}: run footnote models pull.")
    code = ANSWERED
    for name in names or here:
        try:
            with screen.waiting(f"reading {visible(name)}"):
                path = store.verify(name)
        except ModelError as error:
            screen.note(f"footnote: {error}")
            code = MODEL
        else:
            screen.write(f"{visible(name)}  sound  {visible(str(path))}\n")
    return code


def _needed(settings: Settings) -> list[str]:
    wanted = (settings.rag.model, settings.index.embedder)
    return [name for name in wanted if is_file(name)]


@contextlib.contextmanager
def pulling(screen: Screen) -> Iterator[Callable[[PullProgress], None]]:
    """Shows the pulls of a block; nothing at all where nothing is pulled."""
    with screen.downloads() as progress:
        views: dict[str, PullView] = {}

        def notify(step: PullProgress) -> None:
            view = views.setdefault(step.model, PullView(screen, progress))
            view.show(step.model, step.message, step.done, step.total)

        yield notify
