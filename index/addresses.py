"""Where a model is served: `http://HOST:PORT/v1#NAME`, several with commas between them.

A model that is named like this runs on another machine, or in another process of this one, behind an
endpoint that speaks OpenAI's protocol. Anything else names a model that runs here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from index.errors import UsageError

_SCHEMES = ("http://", "https://")
_BETWEEN = re.compile(r",\s*(?=https?://)")


@dataclass(frozen=True, slots=True)
class Address:
    """One endpoint: `base` ends before `/chat/completions`; `model` is empty where it has only one."""

    base: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.base}#{quote(self.model, safe='/:@')}" if self.model else self.base

    @property
    def root(self) -> str:
        """Where paths begin that are not OpenAI's."""
        return self.base.removesuffix("/v1")

    @property
    def is_loopback(self) -> bool:
        """Whether it is this very machine."""
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def is_address(spec: str) -> bool:
    """Whether a model's name is that of an endpoint."""
    return spec.startswith(_SCHEMES)


def joined(value: object) -> object:
    """A list of names, as TOML has it, in the form that the command line has; all else as it is."""
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return ",".join(value)
    return value


def addresses_of(spec: str) -> tuple[Address, ...]:
    """The endpoints that `spec` names, each once, in the order given.

    Raises UsageError, which repeats nothing of what may be a password.
    """
    return tuple(dict.fromkeys(_address(one.strip()) for one in _BETWEEN.split(spec)))


def somewhere_else(addresses: Sequence[Address]) -> list[Address]:
    """Those that are not on this machine."""
    return [address for address in addresses if not address.is_loopback]


def _address(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"an address of a model cannot be read: {_FORM}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "an address of a model holds a name or a password: leave it out, and give the key in a file "
            "or a variable"
        )
    if not host or any(character.isspace() or character == "," for character in text):
        raise UsageError(f"that is no address of a model: {_FORM}")
    if parts.query:
        raise UsageError(f"{host} is given with a query, which is not sent: {_FORM}")
    path = parts.path.rstrip("/") or "/v1"
    return Address(f"{parts.scheme}://{parts.netloc}{path}", unquote(parts.fragment))


_FORM = "write http://HOST:PORT/v1#NAME, and a comma between two"
