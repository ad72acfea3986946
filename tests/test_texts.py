from __future__ import annotations

import pytest

from index.texts import TextCache


def test_a_text_is_loaded_once_and_the_least_recent_goes_first() -> None:
    loaded: list[str] = []

    def load(name: str) -> str:
        loaded.append(name)
        return name * 4

    cache = TextCache(limit=12)
    assert [cache.get(name, load) for name in "abca"] == ["aaaa", "bbbb", "cccc", "aaaa"]
    assert loaded == ["a", "b", "c"]
    cache.get("d", load)  # "b" was not asked for since the longest
    cache.get("a", load)
    cache.get("c", load)
    assert loaded == ["a", "b", "c", "d"]
    cache.get("b", load)
    assert loaded == ["a", "b", "c", "d", "b"]


def test_a_text_beyond_the_limit_is_given_and_not_kept() -> None:
    cache = TextCache(limit=3)
    assert cache.get("x", lambda name: "long text") == "long text"
    assert cache.get("x", lambda name: "asked again") == "asked again"


def test_a_failure_to_load_is_passed_on_and_not_kept() -> None:
    cache = TextCache()
    nothing: dict[str, str] = {}
    with pytest.raises(KeyError):
        cache.get("x", nothing.__getitem__)
    assert cache.get("x", lambda name: "there") == "there"


def test_a_dropped_text_is_loaded_anew_and_makes_room() -> None:
    cache = TextCache(limit=8)
    loaded: list[str] = []

    def load(name: str) -> str:
        loaded.append(name)
        return name * 4

    cache.get("a", load)
    cache.get("b", load)
    cache.drop("a")
    cache.drop("never there")
    cache.get("c", load)  # there is room for it: "b" stays
    assert (cache.held("a"), cache.held("b"), cache.held("c")) == (None, "bbbb", "cccc")
    cache.get("a", load)
    assert loaded == ["a", "b", "c", "a"]
    assert cache.held("b") is None
