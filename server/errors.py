"""The leaves that serving adds to the tree of `index.errors`.

FootnoteError
├── UsageError
│   ├── InvalidRequest        400  exit 2   a field is missing or not usable; `param` names it
│   ├── ForeignHost           400           a Host header that is not ours
│   ├── UnsupportedMedia      415           a body of another content type
│   ├── BodyTooLarge          413           declared or sent
│   ├── Unauthorised          401           no key, or another
│   ├── ForeignOrigin         403           a page of another site wants to write
│   ├── NoSuchPath            404           nothing is there
│   └── MethodNotAllowed      405           something is there, and not for this method
├── TooBusy                   429  exit 1   the queue is full, or was waited in for too long
├── NotReady                  503           the model loads
├── CollectionBusy            503           too many documents are being added
├── DocumentsChanged          409           a document was removed while an answer was made from it
└── Stopping                  503           the server is being stopped
"""

from __future__ import annotations

from index.errors import FootnoteError, UsageError


class InvalidRequest(UsageError):
    code = "invalid_value"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ForeignHost(UsageError):
    code = "foreign_host"


class UnsupportedMedia(UsageError):
    status = 415
    code = "unsupported_media_type"


class BodyTooLarge(UsageError):
    status = 413
    code = "body_too_large"


class Unauthorised(UsageError):
    status = 401
    code = "invalid_api_key"


class ForeignOrigin(UsageError):
    status = 403
    code = "foreign_origin"


class NoSuchPath(UsageError):
    status = 404
    code = "not_found"


class MethodNotAllowed(UsageError):
    status = 405
    code = "method_not_allowed"


class TooBusy(FootnoteError):
    status = 429
    code = "too_busy"

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(FootnoteError):
    status = 503
    code = "not_ready"
    retry_after_s = 5


class Stopping(FootnoteError):
    status = 503
    code = "stopping"
    retry_after_s = 10


class CollectionBusy(FootnoteError):
    status = 503
    code = "collection_busy"
    retry_after_s = 5


class DocumentsChanged(FootnoteError):
    status = 409
    code = "documents_changed"
    retry_after_s = 1
