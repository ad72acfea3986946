"""What Prometheus reads. Each server has a registry of its own, so that tests can have many."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from rag.types import Usage

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters, gauges and histograms, all named `footnote_…`. Times are in seconds."""

    def __init__(self, *, waiting: Callable[[], int], active: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "footnote_requests",
            "Requests by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "footnote_request_seconds",
            "Time from a request to the end of its response.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "footnote_answers",
            "Questions by how they ended: answered, unanswerable, failed, cancelled.",
            ("outcome",),
            registry=self.registry,
        )
        self.refused = Counter(
            "footnote_refused",
            "Requests refused, by the code of the error.",
            ("code",),
            registry=self.registry,
        )
        self.tokens = Counter(
            "footnote_tokens",
            "Tokens the model worked on: prompt, cached (of the prompt, not read again), completion.",
            ("kind",),
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            "footnote_wait_seconds",
            "Time that a question waited for the model.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.evidence_seconds = Histogram(
            "footnote_evidence_seconds",
            "Time from a question to its sources.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answer_seconds = Histogram(
            "footnote_answer_seconds",
            "Time from a question to its whole answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        Gauge("footnote_waiting", "Questions that wait for the model.", registry=self.registry).set_function(
            waiting
        )
        Gauge(
            "footnote_active", "Questions being answered by the model.", registry=self.registry
        ).set_function(active)

    def count_tokens(self, usage: Usage) -> None:
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
