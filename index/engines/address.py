"""Where a collection in a database is: a URL as libpq takes it, and the collection's name in that database.

    postgresql://me@db1,db2:5433/notes?target_session_attrs=prefer-standby&collection=letters

What is shown of it, in messages, logs and answers, never has the user or the password in it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

SCHEMES = ("postgresql://", "postgres://")

DEFAULT = "footnote"
"""The collection of a URL that names none."""

_PLACES = frozenset({"host", "hostaddr", "port", "dbname", "service"})
"""Parameters that say which database it is: two URLs that differ in one may hold different documents."""

LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""

_HOST = r"(?:[\w.%-]*|\[[0-9A-Fa-f:.%]+\])(?::\d*)?"
_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?#\s]*@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<database>[^@/?#\s]*))?(?:\?(?P<query>[^@?#\s]*))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is for libpq, with whatever is secret in it; `hosts` and `database` are as they were written,
    `where` what its parameters say of them."""

    url: str = field(repr=False)
    hosts: str
    database: str
    collection: str
    where: str = ""

    def __str__(self) -> str:
        """What may be shown."""
        name = "" if self.collection == DEFAULT else f"collection={quote(self.collection)}"
        said = "&".join(filter(None, (self.where, name)))
        return f"postgresql://{self.hosts}/{self.database}{said and f'?{said}'}"

    @property
    def digest(self) -> str:
        """The same whoever connects: for what is kept on this machine beside the collection."""
        place = (self.hosts.lower(), unquote(self.database), self.collection, self.where)
        return hashlib.sha256(repr(place).encode()).hexdigest()[:16]


def is_address(text: str) -> bool:
    return text.startswith(SCHEMES)


def address_of(text: str) -> Address:
    """Raises ValueError, which does not repeat what was given: there may be a password in it."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(
            "this is no URL of a database: write postgresql://USER@HOST/DATABASE, and what is special in a "
            "name or password as %XX"
        )
    try:
        pairs = parse_qsl(match["query"] or "", keep_blank_values=True, strict_parsing=bool(match["query"]))
    except ValueError:
        raise ValueError("behind the ? of its URL stand NAME=VALUE pairs, with & between") from None
    named = [value for key, value in pairs if key == "collection"]
    name = named[0] if named else DEFAULT
    if len(named) > 1 or not _is_name(name):
        raise ValueError(
            f"a collection's name in a database has 1 to {LONGEST_NAME} bytes, and is none of "
            "the database's own"
        )
    rest = urlencode([pair for pair in pairs if pair[0] != "collection"], quote_via=quote)
    url = text.partition("?")[0] + (f"?{rest}" if rest else "")
    where = urlencode(sorted(pair for pair in pairs if pair[0] in _PLACES), quote_via=quote)
    return Address(url, match["hosts"], match["database"] or "", name, where)


def _is_name(name: str) -> bool:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    own = name.startswith("pg_") or name in ("information_schema", "public")
    return 0 < length <= LONGEST_NAME and bool(name.strip()) and "\0" not in name and not own
