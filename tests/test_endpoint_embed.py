"""The Embedder on endpoints: what names its weights, how work is shared, what is not taken for vectors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_endpoint import Exchange, FakeEndpoint, fake_endpoint
from small_collection import put
from test_endpoints import SHORT, hang, html, reset, unauthorised

from index.addresses import addresses_of
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder, unit_vectors
from index.endpoint_calls import Patience
from index.endpoint_embed import PROBE, EndpointEmbedder
from index.endpoints import Endpoints
from index.errors import EmbedderMismatch, EndpointFailed

TEXTS = [f"The {word} opened in {1900 + at}." for at, word in enumerate("zoo port bridge mill inn".split())]
VECTORS = HashEmbedder(64).embed(TEXTS)


@contextmanager
def embedder(*endpoints: FakeEndpoint, batch_size: int = 2) -> Iterator[EndpointEmbedder]:
    addresses = addresses_of(",".join(endpoint.url for endpoint in endpoints))
    made = Endpoints(addresses, patience=SHORT, spreads=True)
    with EndpointEmbedder(made, batch_size=batch_size) as opened:
        yield opened


def test_unit_vectors_in_the_order_given() -> None:
    with fake_endpoint() as endpoint, embedder(endpoint) as made:
        found = made.embed(TEXTS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, VECTORS, atol=1e-6)
        assert made.embed([]).shape == (0, 64)
        np.testing.assert_allclose(unit_vectors(made, TEXTS * 30), np.tile(VECTORS, (30, 1)), atol=1e-6)


def test_what_it_is() -> None:
    with fake_endpoint() as endpoint, embedder(endpoint) as made:
        assert made.dimension == 64
        assert made.max_tokens == 4094
        assert made.fingerprint.startswith("fake-1b@")
        assert len(made.fingerprint) == len("fake-1b@") + 16
        # All of it is known from one request.
        assert [asked.body["input"] for asked in endpoint.work()] == [[PROBE]]


def test_the_fingerprint_is_that_of_the_vectors() -> None:
    def fingerprint(**can: Any) -> str:
        with fake_endpoint(**can) as endpoint, embedder(endpoint) as made:
            return made.fingerprint

    def noisy(exchange: Exchange) -> None:
        vectors = HashEmbedder(64).embed(exchange.body["input"])
        vectors += np.random.default_rng(1).standard_normal(vectors.shape).astype(np.float32) * 1e-5
        data = [{"index": at, "embedding": vector.tolist()} for at, vector in enumerate(vectors)]
        exchange.json({"data": data})

    def turned(exchange: Exchange) -> None:
        vectors = HashEmbedder(64).embed(exchange.body["input"])[:, ::-1]
        data = [{"index": at, "embedding": vector.tolist()} for at, vector in enumerate(vectors)]
        exchange.json({"data": data})

    same = fingerprint()
    # The same on every machine, and with every version of numpy.
    assert same == "fake-1b@f22d8b4126879cfc"
    assert fingerprint(always=noisy) == same
    others = {fingerprint(always=turned), fingerprint(model="other"), fingerprint(dimension=65)}
    assert len(others | {same}) == 4


def test_several_share_the_work() -> None:
    with fake_endpoint() as first, fake_endpoint() as second, embedder(first, second) as made:
        np.testing.assert_allclose(made.embed(TEXTS), VECTORS, atol=1e-6)
        texts = [
            text for endpoint in (first, second) for asked in endpoint.work() for text in asked.body["input"]
        ]
        assert sorted(set(texts)) == sorted([PROBE, *TEXTS])
        assert len(first.work()) >= 1
        assert len(second.work()) >= 1


def test_one_that_embeds_otherwise_is_not_used() -> None:
    def other(exchange: Exchange) -> None:
        vectors = HashEmbedder(64).embed([text[::-1] for text in exchange.body["input"]])
        exchange.json({"data": [{"index": at, "embedding": v.tolist()} for at, v in enumerate(vectors)]})

    with fake_endpoint() as first, fake_endpoint(always=other) as second, embedder(first, second) as made:
        for _ in range(4):
            np.testing.assert_allclose(made.embed(TEXTS), VECTORS, atol=1e-6)
        assert second.work()


def test_what_is_under_way_is_given_up_when_one_request_fails() -> None:
    def patient(exchange: Exchange) -> None:
        texts = exchange.body["input"]
        if TEXTS[0] in texts:
            exchange.json({"error": {"message": "no"}}, 400)
        elif texts == [PROBE]:
            exchange.compute()
        else:
            exchange.hang()

    waiting = Patience(silence_s=60.0, total_s=60.0)
    with fake_endpoint(always=patient) as endpoint:
        made = Endpoints(addresses_of(endpoint.url), patience=waiting, spreads=True)
        with EndpointEmbedder(made, batch_size=2) as embedding:
            began = time.monotonic()
            with pytest.raises(EndpointFailed, match="does not do what it was asked"):
                embedding.embed(sorted(TEXTS, key=len))
            assert time.monotonic() - began < 20


@pytest.mark.parametrize("faults", [[], [reset]])
def test_one_that_holds_another_model_from_now_on_is_not_used(faults: list[Any]) -> None:
    with fake_endpoint() as endpoint, embedder(endpoint) as made:
        assert made.embed(TEXTS).shape == (5, 64)
        endpoint.faults = faults
        endpoint.dimension = 32
        with pytest.raises(EndpointFailed, match="embeds otherwise: it holds another model"):
            made.embed(TEXTS[:1])


@pytest.mark.parametrize("fault", [html, unauthorised, reset, hang])
def test_another_endpoint_embeds(fault: Any) -> None:
    with fake_endpoint(always=fault) as first, fake_endpoint() as second, embedder(first, second) as made:
        np.testing.assert_allclose(made.embed(TEXTS), VECTORS, atol=1e-6)


def rows(*vectors: Any, indices: tuple[Any, ...] = ()) -> dict[str, Any]:
    numbered = zip(indices or range(len(vectors)), vectors, strict=True)
    return {"data": [{"index": index, "embedding": vector} for index, vector in numbered]}


@pytest.mark.parametrize(
    "found",
    [
        {}, [], {"data": 5}, {"data": []}, {"data": [{"embedding": [1.0]}]}, rows([1.0], [1.0]), rows([]),
        rows([0.0, 0.0]), rows(["a"]), rows(None), rows([1.0, float("nan")]), rows([1.0], indices=(3,)),
        rows([[1.0], [2.0]]), rows("AAAA"), rows([1.0], [1.0, 2.0]), rows([1.0], indices=(None,)),
        rows([10**400], [1.0]), rows([1e308, 1e308], [1.0, 1.0]),
    ],
)  # fmt: skip
def test_what_are_no_vectors_is_an_error(found: Any) -> None:
    def wrong(exchange: Exchange) -> None:
        exchange.json(found)

    with (
        fake_endpoint(always=wrong) as endpoint,
        embedder(endpoint) as made,
        pytest.raises(EndpointFailed, match=r"vector|embeddings"),
    ):
        made.embed(["a"])


def test_of_a_text_that_is_too_long_the_beginning_is_embedded() -> None:
    with fake_endpoint(most_characters=100) as endpoint, embedder(endpoint, batch_size=8) as made:
        long = "A very long sentence. " * 50
        found = made.embed([*TEXTS, long, ""])
        np.testing.assert_allclose(found[:5], VECTORS, atol=1e-6)
        np.testing.assert_allclose(found[5], HashEmbedder(64).embed([long[: len(long) // 16]])[0], atol=1e-6)


@pytest.mark.parametrize("most", [32, 5, 2])
def test_no_more_texts_are_sent_at_once_than_an_endpoint_takes(most: int) -> None:
    with fake_endpoint(most_texts=most) as endpoint, embedder(endpoint, batch_size=32) as made:
        np.testing.assert_allclose(made.embed(TEXTS * 12), np.tile(VECTORS, (12, 1)), atol=1e-6)
        if most == 32:
            assert sorted(len(asked.body["input"]) for asked in endpoint.work()[1:]) == [30, 32]


def test_tokens_are_estimated() -> None:
    with fake_endpoint() as endpoint, embedder(endpoint) as made:
        texts = [
            "",
            "A zoo.",
            "Bundesverfassungsgericht",
            "東京は日本",
            "Привет",
            "café",
            "1874–1900",
            "a" * 70,
        ]
        assert made.count_tokens(texts) == [0, 3, 4, 5, 6, 2, 5, 10]
        assert endpoint.asked == []


def test_a_collection_notices_another_model(tmp_path: Path) -> None:
    with fake_endpoint() as endpoint:
        with (
            embedder(endpoint) as made,
            LocalCollection.create_or_open(tmp_path, made, IndexSettings()) as collection,
        ):
            put(collection, "zoo.txt", "The zoo opened in 1874.\n")
            assert collection.search("zoo", 1)[0].dense > 0.1
        with embedder(endpoint) as made, LocalCollection.open(tmp_path, made) as collection:
            assert collection.search("zoo", 1)[0].dense > 0.1
    with (
        fake_endpoint(model="other") as endpoint,
        embedder(endpoint) as made,
        pytest.raises(EmbedderMismatch),
    ):
        LocalCollection.open(tmp_path, made)
