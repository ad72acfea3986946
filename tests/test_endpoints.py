"""Endpoints that fail in every way: the next one answers, or one clear error says why, and none hangs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_endpoint import Exchange, FakeEndpoint, Fault, fake_endpoint
from model_fakes import refusing

from index.addresses import addresses_of
from index.endpoint_calls import MOST_LINE_BYTES, Calls, NoLongerWanted, Patience, Rejected
from index.endpoints import Endpoints, Turn
from index.errors import EndpointFailed

SHORT = Patience(connect_s=2.0, silence_s=0.6, total_s=10.0, check_s=2.0, rounds=2)
KEY = "sk-geheim-0123456789"


@contextmanager
def several(
    *made: FakeEndpoint | str, patience: Patience = SHORT, key: str = "", spreads: bool = False
) -> Iterator[Endpoints]:
    urls = ",".join(one if isinstance(one, str) else one.url for one in made)
    endpoints = Endpoints(addresses_of(urls), key=key, patience=patience, spreads=spreads)
    try:
        yield endpoints
    finally:
        endpoints.close()


@contextmanager
def two(**can: Any) -> Iterator[tuple[FakeEndpoint, FakeEndpoint]]:
    with ExitStack() as stack:
        first, second = stack.enter_context(fake_endpoint(**can)), stack.enter_context(fake_endpoint())
        yield first, second


def ask(turn: Turn) -> Iterator[Any]:
    """What the endpoint answers, read as a stream."""
    body = {"messages": [{"role": "user", "content": "\n\nQuestion: Who?"}], "max_tokens": 9, "stream": True}
    events = list(turn.events("/chat/completions", body))
    yield events[-1]["usage"]


def embed(turn: Turn) -> Iterator[Any]:
    yield len(turn.post("/embeddings", {"input": ["a"]})["data"])


def html(exchange: Exchange) -> None:
    exchange.send(b"<html><body>nginx</body></html>", kind="text/html")


def wrong_json(exchange: Exchange) -> None:
    exchange.send(b'{"data": [')


def unauthorised(exchange: Exchange) -> None:
    exchange.json({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)


def redirect(exchange: Exchange) -> None:
    exchange.send(b"", 307, Location=f"{exchange.endpoint.address}/v1/elsewhere")


def missing(exchange: Exchange) -> None:
    exchange.json({"error": {"message": "the model is not here"}}, 404)


def broken(exchange: Exchange) -> None:
    exchange.json({"error": {"message": "out of memory"}}, 500)


def busy(exchange: Exchange) -> None:
    exchange.json({"error": {"message": "slow down"}}, 429, Retry_After="1")


def hang(exchange: Exchange) -> None:
    exchange.hang()


def hang_in_stream(exchange: Exchange) -> None:
    exchange.begin()
    exchange.event({"choices": [{"index": 0, "delta": {"content": "The"}}]})
    exchange.hang()


def reset(exchange: Exchange) -> None:
    exchange.reset()


def torn(exchange: Exchange) -> None:
    exchange.begin(**{"Content-Length": "1000"})
    exchange.event({"choices": [{"index": 0, "delta": {"content": "The"}}]})
    exchange.reset()


def huge_line(exchange: Exchange) -> None:
    exchange.begin()
    for _ in range(MOST_LINE_BYTES // 65536 + 2):
        exchange.write(b"data: " + b"x" * 65536)


def error_in_stream(exchange: Exchange) -> None:
    exchange.begin()
    exchange.event({"error": {"message": "the slot is gone", "code": 500}})


def drip(exchange: Exchange) -> None:
    exchange.begin()
    while not exchange.endpoint.ended.wait(0.05):
        exchange.write(b": still here\n")


FAULTS = [
    html, wrong_json, unauthorised, redirect, missing, broken, busy, hang, hang_in_stream, reset, torn,
    huge_line, error_in_stream, drip,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_next_one_answers(fault: Fault) -> None:
    with two() as (first, second), several(first, second, patience=quick(fault)) as endpoints:
        first.always = fault
        assert next(endpoints.attempt(ask))["completion_tokens"] > 0
        assert (len(first.work()), len(second.work())) == (1, 1)
        # And it is the one that is asked from then on.
        assert list(endpoints.attempt(ask))
        assert (len(first.work()), len(second.work())) == (1, 2)


def quick(fault: Fault) -> Patience:
    """Nothing but the time for everything ends a drip."""
    return Patience(2.0, 0.6, 3.0, 2.0, rounds=2) if fault is drip else SHORT


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (html, "does not speak OpenAI's protocol"),
        (wrong_json, "does not speak OpenAI's protocol"),
        (unauthorised, "wants a key"),
        (redirect, "sends on to another address, which is not followed"),
        (missing, "has no such model, or no such service"),
        (broken, r"answers with status 500 \(out of memory\)"),
        (hang, "says nothing"),
        (hang_in_stream, "says nothing"),
        (reset, "broke off"),
        (torn, "broke off"),
        (huge_line, "sends an event without an end"),
        (error_in_stream, "ended with an error of its own"),
        (drip, "was not done in the time that there was"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_alone_it_is_one_clear_error(fault: Fault, said: str) -> None:
    with fake_endpoint() as endpoint, several(endpoint, patience=quick(fault)) as endpoints:
        endpoint.always = fault
        with pytest.raises(EndpointFailed, match=said) as caught:
            list(endpoints.attempt(ask))
        assert "\n" not in str(caught.value)
        assert endpoint.url in str(caught.value)


def test_nobody_is_there() -> None:
    with several(refusing(), refusing()) as endpoints:
        began = time.monotonic()
        with pytest.raises(EndpointFailed, match=r"cannot be reached.*cannot be reached"):
            list(endpoints.attempt(ask))
        assert time.monotonic() - began < 5


def test_the_one_that_is_there_answers() -> None:
    with fake_endpoint() as endpoint, several(refusing(), endpoint) as endpoints:
        assert list(endpoints.attempt(embed)) == [1]


@pytest.mark.parametrize("fault", [broken, reset, hang, torn])
def test_what_passes_is_tried_again(fault: Fault) -> None:
    with fake_endpoint(faults=[fault]) as endpoint, several(endpoint) as endpoints:
        assert list(endpoints.attempt(embed)) == [1]


@pytest.mark.parametrize("fault", [html, unauthorised, redirect, missing])
def test_what_does_not_pass_is_not(fault: Fault) -> None:
    with fake_endpoint(always=fault) as endpoint, several(endpoint) as endpoints:
        with pytest.raises(EndpointFailed):
            list(endpoints.attempt(embed))
        assert len(endpoint.work()) == 1


def test_a_redirect_is_not_followed() -> None:
    with fake_endpoint(always=redirect) as endpoint, several(endpoint, key=KEY) as endpoints:
        with pytest.raises(EndpointFailed):
            list(endpoints.attempt(embed))
        assert {asked.path for asked in endpoint.asked} == {"/v1/models", "/v1/embeddings"}


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_who_is_busy_is_left_alone_for_as_long_as_it_wants(form: str) -> None:
    times: list[float] = []

    def later(exchange: Exchange) -> None:
        times.append(time.monotonic())
        after = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        exchange.json({"error": {}}, 429, Retry_After=after)

    def now(exchange: Exchange) -> None:
        times.append(time.monotonic())
        exchange.compute()

    with fake_endpoint() as endpoint, several(endpoint) as endpoints:
        endpoint.faults.extend([later, now])
        assert list(endpoints.attempt(embed)) == [1]
        assert 0.9 <= times[1] - times[0] < 4


def test_who_wants_to_be_left_alone_for_hours_is_an_error() -> None:
    def later(exchange: Exchange) -> None:
        exchange.json({"error": {}}, 429, Retry_After="7200")

    with fake_endpoint(always=later) as endpoint, several(endpoint) as endpoints:
        began = time.monotonic()
        with pytest.raises(EndpointFailed, match="too busy"):
            list(endpoints.attempt(embed))
        assert time.monotonic() - began < 1
        # It is not asked again before.
        with pytest.raises(EndpointFailed, match="too busy"):
            list(endpoints.attempt(embed))
        assert len(endpoint.work()) == 1


def test_one_that_is_back_is_looked_at_and_asked_again() -> None:
    with two() as (first, second), several(first, second) as endpoints:
        first.faults.append(reset)
        assert list(endpoints.attempt(embed)) == [1]
        second.always = reset
        assert list(endpoints.attempt(embed)) == [1]
        assert [asked.path for asked in first.asked] == [
            "/v1/models", "/v1/embeddings", "/v1/models", "/v1/embeddings",
        ]  # fmt: skip


def test_those_that_take_turns() -> None:
    with two() as (first, second), several(first, second, spreads=True) as endpoints:
        for _ in range(4):
            assert list(endpoints.attempt(embed)) == [1]
        assert (len(first.work()), len(second.work())) == (2, 2)


# -- what is not wanted any more ------------------------------------------------------------------


@pytest.mark.parametrize("fault", [hang, hang_in_stream, drip])
def test_who_goes_away_closes_the_connection(fault: Fault) -> None:
    patient = Patience(silence_s=30.0, total_s=30.0)
    with fake_endpoint(always=fault) as endpoint, several(endpoint, patience=patient) as endpoints:
        began = time.monotonic()
        with pytest.raises(NoLongerWanted):
            list(endpoints.attempt(ask, lambda: bool(endpoint.work())))
        assert time.monotonic() - began < 5
        assert endpoint.gone.wait(5)


def test_a_stream_that_is_left_closes_the_connection() -> None:
    with fake_endpoint(always=hang_in_stream) as endpoint, several(endpoint) as endpoints:
        stream = endpoints.attempt(lambda turn: turn.events("/chat/completions", {"stream": True}))
        assert next(stream)["choices"]
        stream.close()
        assert endpoint.gone.wait(5)


def test_a_pause_between_two_attempts_is_left_too() -> None:
    with several(refusing(), patience=Patience(rounds=1000)) as endpoints:
        gone = threading.Timer(0.3, lambda: None)
        gone.start()
        began = time.monotonic()
        with pytest.raises(NoLongerWanted):
            list(endpoints.attempt(embed, lambda: not gone.is_alive()))
        assert time.monotonic() - began < 3


def test_closing_ends_what_is_under_way() -> None:
    patient = Patience(silence_s=30.0, total_s=30.0)
    with fake_endpoint(always=hang) as endpoint, several(endpoint, patience=patient) as endpoints:
        ended: list[BaseException] = []

        def asks() -> None:
            try:
                list(endpoints.attempt(embed))
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=asks)
        thread.start()
        while not endpoint.work():
            time.sleep(0.01)
        endpoints.close()
        thread.join(5)
        assert [type(error) for error in ended] == [EndpointFailed]
        with pytest.raises(EndpointFailed, match="was closed"):
            list(endpoints.attempt(embed))


def test_closing_ends_what_a_request_has_only_just_begun() -> None:
    calls = Calls()
    put: list[object] = []

    async def connects(_: object) -> None:
        closing.append(asyncio.create_task(calls._closed()))
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)  # its first step comes after that of who closes
            await anyio.sleep_forever()

    closing: list[asyncio.Task[None]] = []

    async def run() -> None:
        request = asyncio.create_task(calls._guarded(connects, put.append, time.monotonic() + 30))
        with contextlib.suppress(asyncio.CancelledError):
            await request
        await closing[0]

    asyncio.run(run())
    gc.collect()  # a coroutine that nobody awaited would complain
    assert [type(one) for one in put] == [NoLongerWanted]


# -- what it serves -------------------------------------------------------------------------------


def test_the_only_model_needs_no_name() -> None:
    with fake_endpoint(model="/models/small-q4.gguf") as endpoint, several(endpoint) as endpoints:
        assert endpoints.look().model == "/models/small-q4.gguf"
        assert endpoints.name == "small-q4"


def test_another_model_than_the_one_named_is_an_error() -> None:
    with fake_endpoint() as endpoint, several(f"{endpoint.url}#other") as endpoints:
        with pytest.raises(EndpointFailed, match="has no model other, but fake-1b"):
            endpoints.look()
        assert endpoint.work() == []


def test_of_several_models_one_is_named() -> None:
    def listed(exchange: Exchange) -> None:
        exchange.json({"data": [{"id": "a"}, {"id": "b", "aliases": ["bee"]}]})

    with fake_endpoint(on_models=listed) as endpoint:
        with (
            several(endpoint) as endpoints,
            pytest.raises(EndpointFailed, match="more models than one, or none, but a, b: write the name"),
        ):
            endpoints.look()
        with several(f"{endpoint.url}#bee") as endpoints:
            assert endpoints.look().model == "b"
            assert endpoints.name == "bee"


def test_one_that_lists_no_models_is_believed_when_it_is_named() -> None:
    with fake_endpoint(lists=False) as endpoint:
        with several(f"{endpoint.url}#any") as endpoints:
            assert endpoints.look().model == "any"
        with several(endpoint) as endpoints, pytest.raises(EndpointFailed, match="does not say which models"):
            endpoints.look()


@pytest.mark.parametrize("listed", [[], {"data": 5}, {"data": [5]}, {"data": [{"name": "a"}]}, "models"])
def test_a_list_of_another_shape_is_an_error(listed: object) -> None:
    def wrong(exchange: Exchange) -> None:
        exchange.json(listed)

    with (
        fake_endpoint(on_models=wrong) as endpoint,
        several(endpoint) as endpoints,
        pytest.raises(EndpointFailed),
    ):
        endpoints.look()


# -- what is kept secret --------------------------------------------------------------------------


def test_the_key_is_sent_and_never_said(caplog: pytest.LogCaptureFixture) -> None:
    def repeats(status: int) -> Callable[[Exchange], None]:
        def fault(exchange: Exchange) -> None:
            exchange.json({"error": {"message": f"the key {KEY} is wrong", "code": "bad"}}, status)

        return fault

    caplog.set_level("DEBUG")
    for status in (400, 401, 403, 404, 429, 500):
        with fake_endpoint(always=repeats(status)) as endpoint, several(endpoint, key=KEY) as endpoints:
            with pytest.raises((EndpointFailed, Rejected)) as caught:
                list(endpoints.attempt(embed))
            assert endpoint.asked[0].headers["Authorization"] == f"Bearer {KEY}"
            assert KEY not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {endpoints!r}"
    assert KEY not in caplog.text


def test_what_was_sent_is_not_said_either() -> None:
    def repeats(exchange: Exchange) -> None:
        message = f"cannot read {json.dumps(exchange.body['input'])}"
        exchange.json({"error": {"message": message, "type": "BadRequestError"}}, 400)

    with fake_endpoint(always=repeats) as endpoint, several(endpoint) as endpoints:

        def work(turn: Turn) -> Iterator[Any]:
            yield turn.post("/embeddings", {"input": ["Clara Zetterlund designed the “bridge” in 1911."]})

        with pytest.raises(EndpointFailed, match="BadRequestError") as caught:
            list(endpoints.attempt(work))
        assert "Clara" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with (
        fake_endpoint(certificate=certificate(tmp_path)) as endpoint,
        several(endpoint, key=KEY) as endpoints,
    ):
        with pytest.raises(EndpointFailed, match=r"(?i)certificate"):
            list(endpoints.attempt(embed))
        assert endpoint.asked == []


def certificate(folder: Path) -> Path:
    """Of this machine, and signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(made.public_bytes(encoding) + private)
    return path


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, refusing())
    with fake_endpoint() as endpoint, several(endpoint) as endpoints:
        assert list(endpoints.attempt(embed)) == [1]
