"""Every error that Footnote raises on purpose, as one tree.

    FootnoteError                 500  exit 1
    ├── UsageError                400  exit 2   what was asked for cannot be done as asked
    │   └── UnknownFilter         400           no document has anything of that name
    ├── DocumentError             422  exit 1   one file; the others go on
    │   ├── UnsupportedFormat     415           no reader for this kind of file
    │   ├── MislabelledDocument   415           the bytes are not what the name says
    │   ├── EmptyDocument         422           no text in it
    │   ├── EncryptedDocument     422           needs a password
    │   ├── ScannedDocument       422           pictures of text, no text
    │   └── UnreadableDocument    422           damaged, not decodable, no permission, too large
    ├── CollectionError           500  exit 3
    │   ├── CollectionNotFound    404           nothing there yet
    │   ├── UnknownDocument       404           no document has this id
    │   ├── CollectionLocked      409           another process is writing
    │   ├── CollectionDamaged     500           and not derivable from what is left
    │   ├── EmbedderMismatch      409           built with another embedder or dimension
    │   ├── CollectionUnavailable 503           its database cannot be reached, or only read
    │   ├── ArchiveRefused        422           damaged, hostile, or no exported collection
    │   └── SchemaTooNew          500           written by a newer Footnote
    ├── ClusterUnavailable        503  exit 1   a Ray cluster does not answer, or cannot go on
    └── ModelError                500  exit 4
        ├── UnknownModel          404           no such name in the catalogue, no such file
        ├── ModelUnavailable      503           known, not on disk, and not to be had now
        ├── ModelDamaged          500           bytes differ from the catalogue's digest
        ├── ModelUnsuitable       422           a sound file of the wrong kind
        └── EndpointFailed        502           a model elsewhere does not answer, or not as it should

`rag.errors` adds its own leaves. A message is one line: what was wrong, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class FootnoteError(Exception):
    """Root of the tree. `status` is the HTTP status, `exit_code` the command's, `code` a stable name.

    `param` is the field of a request that it is about, where there is one.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal_error"
    param: str | None = None


class UsageError(FootnoteError):
    status = 400
    exit_code = 2
    code = "invalid_request"


class UnknownFilter(UsageError):
    code = "unknown_filter"


class DocumentError(FootnoteError):
    status = 422
    exit_code = 1
    code = "document_error"


class UnsupportedFormat(DocumentError):
    status = 415
    code = "unsupported_format"


class MislabelledDocument(DocumentError):
    status = 415
    code = "mislabelled_document"


class EmptyDocument(DocumentError):
    code = "empty_document"


class EncryptedDocument(DocumentError):
    code = "encrypted_document"


class ScannedDocument(DocumentError):
    code = "scanned_document"


class UnreadableDocument(DocumentError):
    code = "unreadable_document"


class CollectionError(FootnoteError):
    exit_code = 3
    code = "collection_error"


class CollectionNotFound(CollectionError):
    status = 404
    code = "collection_not_found"


class UnknownDocument(CollectionError):
    status = 404
    code = "document_not_found"


class CollectionLocked(CollectionError):
    status = 409
    code = "collection_locked"


class CollectionDamaged(CollectionError):
    code = "collection_damaged"


class EmbedderMismatch(CollectionError):
    status = 409
    code = "embedder_mismatch"


class CollectionUnavailable(CollectionError):
    status = 503
    code = "collection_unavailable"


class ArchiveRefused(CollectionError):
    status = 422
    code = "archive_refused"


class SchemaTooNew(CollectionError):
    code = "schema_too_new"


class ClusterUnavailable(FootnoteError):
    status = 503
    code = "cluster_unavailable"


class ModelError(FootnoteError):
    exit_code = 4
    code = "model_error"


class UnknownModel(ModelError):
    status = 404
    code = "unknown_model"


class ModelUnavailable(ModelError):
    status = 503
    code = "model_unavailable"


class ModelDamaged(ModelError):
    code = "model_damaged"


class ModelUnsuitable(ModelError):
    status = 422
    code = "model_unsuitable"


class EndpointFailed(ModelError):
    status = 502
    code = "model_endpoint_failed"
