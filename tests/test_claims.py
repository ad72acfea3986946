"""The verifier alone: verdicts on claims, and true sentences made false."""

from __future__ import annotations

import random

import pytest

from rag.claims import corrupted, examine, verdict_of
from rag.gold_types import Claim
from rag.ground import Grounder, Verdict
from rag.measures import LABELS
from rag.types import Evidence

PAGE = ("Millers of Corvara sold 63 sacks.", "Dunmore mill was closed in 1911.", "It had sold 74 sacks.")


def evidence(*sentences: str) -> list[Evidence]:
    found, start = [], 0
    for number, text in enumerate(sentences, 1):
        found.append(Evidence(number, "d", "", "", None, start, start + len(text), text, 0.0, ""))
        start += len(text) + 1
    return found


@pytest.mark.parametrize(
    ("kind", "false"),
    [
        ("figure", "Millers of Corvara sold 74 sacks."),
        ("negation", None),
    ],
)
def test_one_thing_is_made_false(kind: str, false: str | None) -> None:
    assert corrupted(PAGE[0], kind, PAGE, random.Random(0)) == false


def test_names_and_verbs() -> None:
    page = ("Millers of Corvara met Espinoza.", "They owed Ferreira money.")
    swapped = {corrupted(page[0], "name", page, random.Random(seed)) for seed in range(20)}
    assert swapped == {"Millers of Ferreira met Espinoza.", "Millers of Corvara met Ferreira."}
    assert corrupted(PAGE[1], "negation", PAGE, random.Random(0)) == "Dunmore mill was not closed in 1911."
    assert corrupted("It was not closed.", "negation", PAGE, random.Random(0)) is None
    alone = corrupted("It sold 63 sacks.", "figure", ["It sold 63 sacks."], random.Random(0))
    assert alone is not None
    assert alone != "It sold 63 sacks."
    assert len(alone) == len("It sold 63 sacks.")


@pytest.mark.parametrize(
    ("claim", "label"),
    [
        ("Dunmore mill was closed in 1911.", "supported"),
        ("Dunmore mill was closed in 1911, Lorenzo Cattaneo wept bitterly.", "partially_supported"),
        ("Lorenzo Cattaneo wept bitterly.", "not_supported"),
        ("Dunmore mill was closed in 1912.", "not_supported"),
    ],
)
def test_a_verdict(claim: str, label: str) -> None:
    assert LABELS[verdict_of(claim, Grounder(evidence(*PAGE), threshold=0.8))] == label


CLAIM = Claim("c", "Dunmore mill was closed.", "supported", PAGE, ((1,),), "", "")


def test_the_true_sentence_passes_and_the_false_ones_are_caught() -> None:
    found = {one.id: one for one in examine(CLAIM, 0.8)}
    # No name: the only one begins the sentence, where every word has a capital.
    assert set(found) == {"c", "c verbatim", "c figure", "c negation"}
    assert found["c"].scores == {"verdict": LABELS.index("supported"), "label": LABELS.index("supported")}
    assert found["c verbatim"].scores == {"verbatim_passed": 1.0}
    assert found["c negation"].question == "Dunmore mill was not closed in 1911."
    assert found["c negation"].scores == {"negation_caught": 1.0}
    assert examine(CLAIM, 0.8) == examine(CLAIM, 0.8)


def test_a_verifier_that_lets_nothing_through_gets_no_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grounder, "check", lambda _, text, __: Verdict(text, False, 0.0, (), "no"))
    found = examine(CLAIM, 0.8)
    assert [one.scores for one in found] == [
        {"verdict": LABELS.index("not_supported"), "label": LABELS.index("supported")},
        {"verbatim_passed": 0.0},
    ]


def test_a_claim_without_support_is_only_judged() -> None:
    unsupported = Claim("c", "Lorenzo wept.", "not_supported", PAGE, (), "", "")
    assert [one.id for one in examine(unsupported, 0.8)] == ["c"]
