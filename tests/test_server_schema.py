"""Every operation against its own description: nothing undocumented, no 500."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from asked_server import ANSWER, QUESTION, listening, small_settings, small_state
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        small_state(small_settings(tmp_path_factory.mktemp("home"))) as state,
        listening(state) as client,
    ):
        yield client


def check(operation: Any, mode: GenerationMode) -> None:
    # What no schema can say: the last message is the user's, a question has words, a file is readable.
    excluded = [positive_data_acceptance] if operation.method == "post" else []

    @settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def behaves(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=excluded)

    with contextlib.suppress(Unsatisfiable):  # there is nothing wrong that could be sent
        behaves()


def test_every_operation_says_which_errors_it_may_answer_with(served: Any) -> None:
    described = served.get("/openapi.json").json()
    envelope = {"$ref": "#/components/schemas/ErrorEnvelope"}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            expected = {"400", "401", "405", "500"} | ({"403", "413", "415"} if method == "post" else set())
            assert expected <= set(responses), (method, path)
            for status in expected:
                assert responses[status]["content"]["application/json"]["schema"] == envelope
    assert "503" in described["paths"]["/ready"]["get"]["responses"]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_does_as_described(
    served: Any, subtests: pytest.Subtests, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(str(served.base_url.join("/openapi.json")))
    for result in schema.get_all_operations():
        operation = result.ok()
        with subtests.test(operation.label):
            check(operation, mode)
    assert served.post("/api/ask", json={"question": QUESTION}).json()["answer"] == ANSWER
