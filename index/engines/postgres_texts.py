"""Short texts as PostgreSQL can hold them, and back: it has no U+0000, which titles and headings may have."""

from __future__ import annotations

from collections.abc import Iterable


def held(text: str) -> str:
    """`text` without U+0000; `given` makes it again, whatever the text."""
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\3").replace("\0", "\1\2")
    return text


def given(text: str) -> str:
    """What `held` was made of."""
    if "\1" in text:
        return text.replace("\1\2", "\0").replace("\1\3", "\1")
    return text


def findable(texts: Iterable[str]) -> list[str]:
    """As `held`, of what is looked for; what no stored text can be is left out."""
    return [held(text) for text in texts if _is_utf8(text)]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
