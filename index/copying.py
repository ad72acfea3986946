"""A collection into another one, from a folder into a database or back: all of it, and checked.

Documents go over in the order in which they were stored, some at a time, each time in one transaction, and
are read back: what does not come out as it went in is an error. Who is interrupted goes on with the same
call: what is there already is compared and not sent again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass

from index.errors import CollectionDamaged, EmbedderMismatch, UsageError
from index.types import Collection, StoredDocument

_DOCUMENTS, _PASSAGES = 1_024, 8_192
"""At most so many are sent and held at once, but for a single document that has more."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied, or was there: `sha256` is the same for collections that hold the same.

    `sent` documents were not there.
    """

    documents: int
    sources: int
    passages: int
    characters: int
    sent: int
    sha256: str


def copy_collection(
    source: Collection, target: Collection, on_copied: Callable[[int], None] | None = None
) -> Copied:
    """`on_copied` is called with the number of documents settled since the last call.

    Other processes may read both meanwhile, and write to `source`, one state of which is copied. Raises
    UsageError when `target` holds documents that `source` has not, EmbedderMismatch, CollectionLocked, and
    CollectionDamaged where something did not arrive as it was sent.
    """
    if source.embedder.fingerprint != target.embedder.fingerprint:
        raise EmbedderMismatch(
            f"{source.name} was made with the embedder {source.embedder.fingerprint}, and {target.name} with "
            f"{target.embedder.fingerprint}: copy into another collection."
        )
    with target.writing():
        _make_way(source, target)
        there = {info.id for info in target.documents()}
        documents = sources = passages = characters = sent = total = 0
        for batch in _batches(source.stored()):
            wanted = {one.document.id: digest(one) for one in batch}
            known = _digests(target, [name for name in wanted if name in there])
            for name, found in known.items():
                if found != wanted[name]:
                    target.remove_document(name)
            new = [one for one in batch if known.get(one.document.id) != wanted[one.document.id]]
            target.put_stored(new)
            arrived = _digests(target, [one.document.id for one in new])
            for one in new:
                if arrived.get(one.document.id) != wanted[one.document.id]:
                    raise CollectionDamaged(
                        f"The document {one.document.id} did not arrive as it was sent: "
                        "check both collections."
                    )
            documents += len(batch)
            sources += sum(len(one.sources) for one in batch)
            passages += sum(len(one.passages) for one in batch)
            characters += sum(len(one.document.text) for one in batch)
            sent += len(new)
            total += sum(int.from_bytes(one) for one in wanted.values())
            if on_copied is not None:
                on_copied(len(batch))
        formers = source.formers()
        if target.formers() != formers:
            target.put_formers(formers)
        stats = target.stats()
        if (stats.documents, stats.sources, stats.passages, stats.characters) != (
            documents,
            sources,
            passages,
            characters,
        ):
            raise CollectionDamaged(f"{target.name} does not hold what was copied into it: copy again.")
        target.snapshot()
    sha256 = hashlib.sha256((total % 2**256).to_bytes(32)).hexdigest()
    return Copied(documents, sources, passages, characters, sent, sha256)


def digest(one: StoredDocument) -> bytes:
    """SHA-256 of all that is stored of a document."""
    document = one.document
    said = {
        "document": [document.sha256, document.uri, document.title, document.media_type],
        "blocks": [astuple(block) for block in document.blocks],
        "pages": [astuple(page) for page in document.pages],
        "metadata": sorted(document.metadata.items()),
        "made": [one.made, one.added_at],
        "passages": [asdict(passage) for passage in one.passages],
        "sources": [[asdict(source), title] for source, title in one.sources],
    }
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    found.update(one.vectors.astype("<f4").tobytes())
    return found.digest()


def _digests(collection: Collection, document_ids: list[str]) -> dict[str, bytes]:
    if not document_ids:
        return {}
    return {one.document.id: digest(one) for one in collection.stored(document_ids)}


def _make_way(source: Collection, target: Collection) -> None:
    """Take away what would stand in the way of what comes: sources that lead to another document by now."""
    wanted = {held.source.uri: held.document_id for held in source.sources()}
    ids = set(wanted.values())
    strange = {info.id for info in target.documents()} - ids
    if strange:
        raise UsageError(
            f"{target.name} holds {len(strange)} documents that {source.name} has not: "
            "copy into a new collection"
        )
    for held in target.sources():
        if wanted.get(held.source.uri) != held.document_id:
            target.remove(held.source.uri)


def _batches(documents: Iterator[StoredDocument]) -> Iterator[list[StoredDocument]]:
    batch: list[StoredDocument] = []
    passages = 0
    for one in documents:
        if batch and (len(batch) == _DOCUMENTS or passages + len(one.passages) > _PASSAGES):
            yield batch
            batch, passages = [], 0
        batch.append(one)
        passages += len(one.passages)
    if batch:
        yield batch
