"""The key that clients send, kept as its digest and compared in constant time."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from index.errors import UsageError


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Shows nothing of the key, in logs and tracebacks either."""

    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, key: str) -> ApiKey:
        """Raises UsageError for a key that no header could carry."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError("the API key is empty or has other characters than visible ASCII: make another")
        return cls(hashlib.sha256(key.encode()).digest())

    def fits(self, authorization: bytes) -> bool:
        """Whether an Authorization header carries it: `Bearer KEY`."""
        scheme, _, sent = authorization.partition(b" ")
        same = secrets.compare_digest(hashlib.sha256(sent.strip()).digest(), self.digest)
        return scheme.lower() == b"bearer" and same
