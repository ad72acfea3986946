"""`footnote collection`: which collections there are, and taking one away, out or in."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from index.archive import export_collection, import_collection, is_upload, read_manifest
from index.catalog import FILE_NAME, Catalog
from index.copying import copy_collection
from index.engines.address import Address
from index.engines.held import Held
from index.engines.opening import collections_at, delete_at
from index.errors import CollectionDamaged, CollectionError, FootnoteError, SchemaTooNew, UsageError
from index.records import Totals
from index.types import Collection
from rag.commands import counted
from rag.config import Settings
from rag.jsonform import dumps
from rag.present import Screen
from rag.session import in_bytes, open_collection, open_recorded, require_collection
from rag.visible import visible

DONE = 0


def list_collections(settings: Settings, screen: Screen, *, as_json: bool) -> int:
    """Those of the database that the settings name, else those under HOME. Raises CollectionUnavailable."""
    if settings.address is not None:
        found = collections_at(settings.address)
        place = f"the database of {settings.address}"
        default = settings.address.collection
    else:
        found = list(_under_home(settings))
        place = str(_collections(settings))
        is_there = settings.collection_folder.parent == _collections(settings)
        default = settings.collection_folder.name if is_there else ""
    rows = []
    for one in found:
        described: dict[str, object] = {"name": one.name, "bytes": one.bytes}
        if one.error:
            described["error"] = one.error
        else:
            described["documents"], described["passages"] = one.documents, one.passages
        if as_json:
            screen.write(dumps(described) + "\n")
        mark = " (default)" if one.name == default else ""
        held = visible(one.error) or _held(one.documents, one.passages)
        rows.append((visible(one.name) + mark, in_bytes(one.bytes), held))
    if not rows:
        screen.note(f"There is no collection in {place}: make one with footnote index PATH.")
    if not as_json:
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        for name, size, held in rows:
            screen.write(f"{name.ljust(widths[0])}  {size.rjust(widths[1])}  {held}\n")
    return DONE


def _under_home(settings: Settings) -> Iterator[Held]:
    for folder in sorted(path.parent for path in _collections(settings).glob(f"*/{FILE_NAME}")):
        if folder.name.startswith("."):
            continue  # half imported, or half deleted
        try:
            totals = _totals(folder)
        except FootnoteError as error:
            yield Held(folder.name, _size(folder), error=str(error))
        else:
            yield Held(folder.name, _size(folder), totals.documents, totals.passages)


def delete_collection(settings: Settings, screen: Screen, *, agreed: bool) -> int:
    """With its uploaded files. Raises UsageError for a folder elsewhere, and where nobody agreed."""
    if settings.address is not None:
        return _delete_there(settings, settings.address, screen, agreed=agreed)
    folder = _own_folder(settings, "deleted")
    uploads = settings.uploads_folder
    try:
        require_collection(settings)
        totals = _totals(folder)
        held = f"{_held(totals.documents, totals.passages)}, {in_bytes(_size(folder))}"
    except (CollectionDamaged, SchemaTooNew) as error:
        held = str(error)
    if not agreed and not _agrees(f"Delete {settings.collection}: {held}? [y/N] ", screen):
        screen.note("Nothing was deleted.")
        return UsageError.exit_code
    gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.deleted")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(CollectionDamaged, SchemaTooNew):
            stack.enter_context(stack.enter_context(closing(Catalog(folder))).locked())
        try:
            os.replace(folder, gone)  # at once: nobody opens half of it
        except OSError as error:
            raise CollectionError(
                f"{folder} cannot be deleted ({error.strerror}): check its permissions."
            ) from error
    for path in (gone, uploads):
        shutil.rmtree(path, ignore_errors=True)
    screen.write(f"deleted {visible(settings.collection)}\n")
    return DONE


def _delete_there(settings: Settings, address: Address, screen: Screen, *, agreed: bool) -> int:
    """In a database, with what this machine has kept for it."""
    try:
        with open_recorded(settings) as collection:
            stats = collection.stats()
            held = f"{_held(stats.documents, stats.passages)}, {in_bytes(collection.size())}"
    except (CollectionDamaged, SchemaTooNew) as error:
        held = str(error)
    if not agreed and not _agrees(f"Delete {address}: {held}? [y/N] ", screen):
        screen.note("Nothing was deleted.")
        return UsageError.exit_code
    delete_at(address)
    for path in (settings.collection_folder, settings.uploads_folder):
        shutil.rmtree(path, ignore_errors=True)
    screen.write(f"deleted {visible(str(address))}\n")
    return DONE


def export(settings: Settings, screen: Screen, target: Path) -> int:
    _refuse_address(settings)
    require_collection(settings)
    is_own = settings.collection_folder.parent == _collections(settings)
    with screen.waiting("exporting"):
        manifest = export_collection(
            settings.collection_folder, target, uploads=settings.uploads_folder if is_own else None
        )
    size = in_bytes(target.stat().st_size)
    screen.write(
        f"{visible(str(target))}  {_held(manifest.documents, manifest.passages)}, {size},"
        f" checksum {manifest.sha256}\n"
    )
    return DONE


def import_(settings: Settings, screen: Screen, path: Path, *, is_named: bool) -> int:
    """Under the name that it was exported from, or `settings.collection`."""
    named = settings
    if not is_named:
        name = read_manifest(path).name
        if name.startswith(".") or os.sep in name or "\0" in name or name != name.strip():
            raise UsageError(
                f"{path} says that it is called {name!r}: give it another name with --collection."
            )
        named = settings.model_copy(update={"collection": name})
    folder = _own_folder(named, "imported")
    with screen.waiting("importing"):
        manifest = import_collection(path, folder, uploads=named.uploads_folder)
    held = _held(manifest.documents, manifest.passages)
    screen.write(f"imported {visible(named.collection)}: {held}\n")
    return DONE


def copy(source: Settings, target: Settings, screen: Screen) -> int:
    """All that `source` holds into `target`, with what was uploaded into it on this machine."""
    if source.collection_folder == target.collection_folder:
        raise UsageError("this is one and the same collection: name another one to copy into")
    with open_recorded(source) as out, _receiving(target, out) as into:
        stats = out.stats()
        with screen.progress() as progress:
            task = progress.add_task("copying", total=stats.documents, counted="")
            done = 0

            def on_copied(documents: int) -> None:
                nonlocal done
                done += documents
                counted_so_far = f"{done}/{stats.documents} documents"
                progress.update(task, completed=done, counted=counted_so_far)

            copied = copy_collection(out, into, on_copied)
    files = _copy_uploads(source.uploads_folder, target.uploads_folder)
    also = f", {counted(files, 'uploaded file')}" if files else ""
    screen.write(
        f"copied {visible(source.collection_shown)} to {visible(target.collection_shown)}:"
        f" {_held(copied.documents, copied.passages)}{also}, {copied.sent} sent, checksum {copied.sha256}\n"
    )
    return DONE


def _receiving(target: Settings, source: Collection) -> Collection:
    """The collection that is copied into, made as the other was where it is not there."""
    made_as = target.index.model_copy(update={"passage_tokens": source.stats().passage_tokens})
    receiving = target.model_copy(update={"index": made_as})
    return open_collection(receiving, source.embedder, must_exist=False)


def _copy_uploads(source: Path, target: Path) -> int:
    """How many files were uploaded; those that are there already, by their names, are the same."""
    files = sorted(source.iterdir()) if source.is_dir() else []
    kept = [path for path in files if is_upload(path.name)]
    try:
        for path in kept:
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (target / path.name).exists():
                partial = target / f".{path.name}.{secrets.token_hex(4)}.partial"
                shutil.copyfile(path, partial)
                os.replace(partial, target / path.name)
    except OSError as error:
        raise CollectionError(
            f"{target} cannot be written ({error.strerror}): check the disk's space and permissions."
        ) from error
    return len(kept)


def _held(documents: int, passages: int) -> str:
    return f"{counted(documents, 'document')}, {counted(passages, 'passage')}"


def _collections(settings: Settings) -> Path:
    return settings.home / "collections"


def _own_folder(settings: Settings, done: str) -> Path:
    """Raises UsageError for a collection that is not one of HOME's."""
    _refuse_address(settings)
    folder = settings.collection_folder
    if folder.parent != _collections(settings) or folder.name.startswith("."):
        raise UsageError(
            f"{settings.collection} is no name: only collections under {settings.home} are {done}"
        )
    return folder


def _refuse_address(settings: Settings) -> None:
    if settings.address is not None:
        raise UsageError(
            f"{settings.address} is in a database, which has its own tools: for this, copy it into a folder "
            "with footnote collection copy"
        )


def _totals(folder: Path) -> Totals:
    with closing(Catalog(folder)) as catalog, catalog.reading() as reader:
        return reader.totals()


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _agrees(question: str, screen: Screen) -> bool:
    """Raises UsageError where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UsageError("deleting asks first, and there is nobody to ask: say --yes")
    screen.err.write(visible(question))
    screen.err.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
