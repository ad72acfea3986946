"""Several endpoints that serve one model: which is asked, and what happens when one does not answer.

The endpoint that answered last is asked again, since it has read what comes first in the next prompt; or, for
what does not depend on that, each in turn. One that fails is passed over for the next at once, and looked at
(`GET /models`) before it is asked again. When all have failed, all are tried again after a pause that grows,
differs by chance, and is no shorter than an endpoint asked for.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

import tenacity

from index.addresses import Address
from index.endpoint_calls import PATIENCE, POLL_S, Calls, Fault, NoLongerWanted, Patience, Rejected
from index.errors import EndpointFailed

T = TypeVar("T")

LOG = logging.getLogger("footnote.endpoints")

_LONGEST_PAUSE_S = 8.0
_LONGEST_BREAK_S = 30.0
_LONGEST_WAIT_S = 60.0
"""An endpoint that asks for more patience than this is not waited for."""


@dataclass(slots=True)
class Endpoint:
    """One endpoint as it was found. `found` holds what was learned of it since it was last looked at."""

    address: Address
    model: str = ""
    context_tokens: int | None = None
    owner: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    is_known: bool = False
    failures: int = 0
    away_until: float = 0.0
    """Not asked before this reading of `time.monotonic` while another is there."""
    busy_until: float = 0.0
    """Not asked before this at all."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one attempt may do with the endpoint that has the turn."""

    endpoint: Endpoint
    calls: Calls = field(repr=False)
    cancelled: Callable[[], bool]
    deadline: float
    found: dict[str, Any]
    """That of the endpoint when the turn began: should it fail under another thread, this is past."""

    def post(self, path: str, body: Mapping[str, Any], *, beside: bool = False) -> Any:
        """The parsed response; `beside` the paths of OpenAI's protocol. Raises Fault, Rejected."""
        address = self.endpoint.address
        url = f"{address.root if beside else address.base}{path}"
        return self.calls.json("POST", url, body, cancelled=self.cancelled, deadline=self.deadline)

    def events(self, path: str, body: Mapping[str, Any]) -> Generator[Any]:
        """The parsed events of a streamed response. Raises Fault, Rejected."""
        url = f"{self.endpoint.address.base}{path}"
        return self.calls.events(url, body, cancelled=self.cancelled, deadline=self.deadline)


class Endpoints:
    """The endpoints of one model. Safe to use from several threads; close it when done.

    With `spreads`, endpoints take turns; else one is asked as long as it answers.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        key: str = "",
        patience: Patience = PATIENCE,
        spreads: bool = False,
    ) -> None:
        self._endpoints = [Endpoint(address) for address in addresses]
        self._calls = Calls(key, patience)
        self._patience = patience
        self._spreads = spreads
        self._guard = threading.Lock()  # of what follows, and of each endpoint's times
        self._first = 0

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def name(self) -> str:
        """What people call the model: as the first address names it, or as its endpoint does."""
        model = self._endpoints[0].address.model or self._endpoints[0].model
        return (model and called(model)) or called(self.look().model)

    def look(self, cancelled: Callable[[], bool] = lambda: False) -> Endpoint:
        """One that can be asked, as it was found. Raises EndpointFailed."""
        (found,) = self.attempt(lambda turn: iter([turn.endpoint]), cancelled)
        return found

    def expected(self) -> Endpoint:
        """The one that would be asked now, where they do not take turns. Asks nothing."""
        return self._in_order()[0]

    def close(self) -> None:
        self._calls.close()

    def attempt(
        self, work: Callable[[Turn], Iterator[T]], cancelled: Callable[[], bool] = lambda: False
    ) -> Generator[T]:
        """What `work` gives with one endpoint or, where that raises Fault, with the next.

        `work` begins anew each time, and what it gave before was passed on already: it has to give the rest.
        Raises EndpointFailed, NoLongerWanted, and what else `work` raises.
        """
        deadline = time.monotonic() + self._patience.total_s
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=tenacity.stop_after_attempt(self._patience.rounds)
            | tenacity.stop_before_delay(self._patience.total_s),
            wait=_pause,
            sleep=partial(_sleep, cancelled),
            reraise=True,
        )
        try:
            for trial in retrying:
                with trial:
                    yield from self._round(work, cancelled, deadline)
        except _NoneAnswered as failure:
            raise EndpointFailed(str(failure)) from failure.faults[-1][1]
        except NoLongerWanted:
            if cancelled():
                raise
            raise EndpointFailed("the model elsewhere was closed; open it again") from None

    def _round(
        self, work: Callable[[Turn], Iterator[T]], cancelled: Callable[[], bool], deadline: float
    ) -> Iterator[T]:
        faults: list[tuple[Endpoint, Fault]] = []
        order = self._in_order()
        for place, endpoint in enumerate(order, 1):
            now = time.monotonic()
            # Whoever takes for ever leaves time for the next one.
            until = deadline if place == len(order) else now + (deadline - now) / 2
            try:
                if (wait := endpoint.busy_until - now) > 0:
                    raise Fault("is too busy", retry_after_s=wait)
                if not endpoint.is_known:
                    self._find(endpoint, cancelled, until)
                yield from work(Turn(endpoint, self._calls, cancelled, until, endpoint.found))
            except Fault as fault:
                self._failed(endpoint, fault)
                faults.append((endpoint, fault))
            except Rejected as rejected:
                if not rejected.is_missing:
                    raise EndpointFailed(
                        f"{endpoint.address} does not do what it was asked ({rejected}): choose another model"
                    ) from rejected
                missing = Fault(f"has no such model, or no such service ({rejected})", is_passing=False)
                self._failed(endpoint, missing)
                faults.append((endpoint, missing))
            else:
                self._answered(endpoint)
                return
        raise _NoneAnswered(faults)

    def _in_order(self) -> list[Endpoint]:
        """All of them, those first that can be expected to answer."""
        now = time.monotonic()
        with self._guard:
            turned = self._endpoints[self._first :] + self._endpoints[: self._first]
            if self._spreads:
                self._first = (self._first + 1) % len(self._endpoints)
            return sorted(turned, key=lambda one: max(one.away_until, one.busy_until) > now)

    def _find(self, endpoint: Endpoint, cancelled: Callable[[], bool], deadline: float) -> None:
        """See whether it is well, and what it serves. Raises Fault."""
        endpoint.found = {}
        wanted = endpoint.address.model
        try:
            listed = self._calls.json(
                "GET",
                f"{endpoint.address.base}/models",
                None,
                cancelled=cancelled,
                deadline=deadline,
                silence_s=min(self._patience.check_s, self._patience.silence_s),
            )
        except Rejected as rejected:
            if not wanted:
                raise Fault(
                    f"does not say which models it has ({rejected}): write the name behind a #",
                    is_passing=False,
                ) from rejected
            endpoint.model = wanted
        else:
            served = _served(listed)
            model = _chosen(served, wanted)
            entry = served[model]
            endpoint.model, endpoint.owner = model, str(entry.get("owned_by", ""))
            endpoint.context_tokens = _context(entry)
        endpoint.is_known = True

    def _failed(self, endpoint: Endpoint, fault: Fault) -> None:
        LOG.info("endpoint failed", extra={"endpoint": str(endpoint.address), "reason": str(fault)})
        now = time.monotonic()
        with self._guard:
            if fault.retry_after_s is not None:
                endpoint.busy_until = now + fault.retry_after_s
                return
            endpoint.is_known = False
            endpoint.failures += 1
            pause = min(0.5 * 2**endpoint.failures, _LONGEST_BREAK_S) if fault.is_passing else 60.0
            endpoint.away_until = now + pause * random.uniform(0.5, 1.5)

    def _answered(self, endpoint: Endpoint) -> None:
        with self._guard:
            endpoint.failures, endpoint.away_until = 0, 0.0
            if not self._spreads:
                self._first = self._endpoints.index(endpoint)


class _NoneAnswered(Exception):
    """Of one round."""

    def __init__(self, faults: Sequence[tuple[Endpoint, Fault]]) -> None:
        said = "; ".join(f"{endpoint.address} {fault}" for endpoint, fault in faults)
        super().__init__(f"no endpoint of the model answers: {said}; mend that, or choose another model")
        self.faults = faults

    @property
    def soonest_s(self) -> float:
        """How long the most lenient endpoint wants to be left alone; 0 where one says nothing of it."""
        passing = [fault.retry_after_s or 0.0 for _, fault in self.faults if fault.is_passing]
        return min(passing, default=0.0)


def _may_pass(error: BaseException) -> bool:
    return (
        isinstance(error, _NoneAnswered)
        and any(fault.is_passing for _, fault in error.faults)
        and error.soonest_s <= _LONGEST_WAIT_S
    )


_growing = tenacity.wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    least = error.soonest_s if isinstance(error, _NoneAnswered) else 0.0
    return max(_growing(state), least * random.uniform(1.0, 1.1))


def _sleep(cancelled: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if cancelled():
            raise NoLongerWanted
        time.sleep(min(left, POLL_S))


def called(model: str) -> str:
    """A model's name for people: of a path its last part, of a file without its ending."""
    return PurePosixPath(model).name.removesuffix(".gguf") if model.startswith("/") else model


def _served(listed: Any) -> dict[str, Mapping[str, Any]]:
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        raise Fault("does not speak OpenAI's protocol", is_passing=False)
    return {str(entry["id"]): entry for entry in entries if isinstance(entry, dict) and "id" in entry}


def _chosen(served: Mapping[str, Mapping[str, Any]], wanted: str) -> str:
    """The model as the endpoint calls it. Raises Fault."""
    if not wanted and len(served) == 1:
        return next(iter(served))
    for name, entry in served.items():
        aliases = entry.get("aliases")
        if wanted in (name, called(name)) or (isinstance(aliases, list) and wanted in aliases):
            return name
    names = ", ".join(called(name) for name in list(served)[:8]) or "none"
    said = f"has no model {wanted}" if wanted else "has more models than one, or none"
    raise Fault(f"{said}, but {names}: write the name behind a #", is_passing=False)


def _context(entry: Mapping[str, Any]) -> int | None:
    """Tokens that it reads at once, where vLLM or llama.cpp say so."""
    meta = entry.get("meta")
    found = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
