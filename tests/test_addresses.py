"""How endpoints are named: what is an address, and what is refused without being repeated."""

from __future__ import annotations

import pytest

from index.addresses import Address, addresses_of, is_address, joined, somewhere_else
from index.errors import UsageError


@pytest.mark.parametrize(
    ("spec", "base", "model"),
    [
        ("http://gpu:8000/v1#qwen", "http://gpu:8000/v1", "qwen"),
        ("http://gpu:8000", "http://gpu:8000/v1", ""),
        ("http://gpu:8000/#m", "http://gpu:8000/v1", "m"),
        ("https://llm.example/a/v1/#Qwen/Qwen2.5-7B", "https://llm.example/a/v1", "Qwen/Qwen2.5-7B"),
        ("http://[::1]:80/v1#a%2Cb%20c", "http://[::1]:80/v1", "a,b c"),
        ("http://gpu/api", "http://gpu/api", ""),
    ],
)
def test_an_address(spec: str, base: str, model: str) -> None:
    assert is_address(spec)
    assert addresses_of(spec) == (Address(base, model),)


def test_several_each_once_in_order() -> None:
    one, two = Address("http://a:1/v1", "m"), Address("https://b/v1", "m")
    assert addresses_of("http://a:1/v1#m, https://b/v1#m,http://a:1/v1#m") == (one, two)
    assert joined(["http://a:1/v1#m", "https://b/v1#m"]) == "http://a:1/v1#m,https://b/v1#m"
    assert joined("x") == "x"
    assert joined([]) == []


def test_it_is_written_as_it_was_read() -> None:
    for spec in ("http://gpu:8000/v1#a%2Cb%20c", "http://gpu:8000/v1#Qwen/Qwen2.5-7B", "http://gpu:8000/v1"):
        assert str(addresses_of(spec)[0]) == spec


@pytest.mark.parametrize(
    "spec",
    ["http://", "http://a:port/v1", "http://a,b/v1", "http://a/v1?key=geheim", "http://a/v1#m,other"],
)
def test_what_is_no_address_is_said(spec: str) -> None:
    with pytest.raises(UsageError, match="write http://HOST:PORT/v1#NAME") as caught:
        addresses_of(spec)
    assert "geheim" not in str(caught.value)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="give the key in a file or a variable") as caught:
        addresses_of("http://me:geheim@a/v1")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("spec", ["http://a:1/v1, me:geheim@b:2/v1", "http://me:geheim/x@host/v1"])
def test_what_may_be_a_password_is_not_repeated(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        addresses_of(spec)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["qwen2.5-coder-1.5b", "hf:a/b/c.gguf", "/models/x.gguf", "httpx", "extractive"]
)
def test_what_runs_here_is_no_address(spec: str) -> None:
    assert not is_address(spec)


def test_other_machines() -> None:
    here = addresses_of("http://127.0.0.1:1,http://localhost:2,http://[::1]:3,http://127.9.9.9")
    assert somewhere_else(here) == []
    there = addresses_of("http://10.0.0.1,http://localhost.example,http://127.0.0.1.example")
    assert somewhere_else(there) == list(there)
