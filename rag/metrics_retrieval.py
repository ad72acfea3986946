"""How well what was retrieved meets the gold evidence: by rank, and by characters.

Questions without gold evidence, the unanswerable ones, have no score here: there is nothing to miss, so
every function returns None for them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from rag.spans import Span, overlap


@dataclass(frozen=True, slots=True)
class CharacterScores:
    precision: float | None
    recall: float | None
    iou: float | None


def relevance(ranked: Sequence[Span], gold: Sequence[Span]) -> tuple[bool, ...]:
    """Which of the ranked passages hold a character of the gold ranges.

    The same over all passages of the collection says how many there are to be found.
    """
    return tuple(any(span.overlaps(other) for other in gold) for span in ranked)


def distinct(ranked: Iterable[Hashable]) -> tuple[Hashable, ...]:
    """Each item once, at its best rank: passages' documents become a ranking of documents."""
    return tuple(dict.fromkeys(ranked))


def recall_at(k: int, relevant: Sequence[bool], total: int) -> float | None:
    """The share of all `total` relevant items that stand among the first `k` (Manning et al. 2008, ch. 8).

    `relevant` says of each ranked item, best first, whether it is relevant. None if `total` is 0.
    """
    return min(sum(relevant[:k]) / total, 1.0) if total else None


def success_at(k: int, relevant: Sequence[bool], total: int) -> float | None:
    """1 if a relevant item stands among the first `k`, else 0: top-k accuracy (Karpukhin et al. 2020).

    None if `total` is 0.
    """
    return float(any(relevant[:k])) if total else None


def reciprocal_rank(relevant: Sequence[bool], total: int) -> float | None:
    """1 / rank of the first relevant item, 0 if none was found (Voorhees 1999); its mean is the MRR.

    None if `total` is 0.
    """
    if not total:
        return None
    return next((1 / rank for rank, hit in enumerate(relevant, 1) if hit), 0.0)


def ndcg_at(k: int, relevant: Sequence[bool], total: int) -> float | None:
    """Discounted cumulative gain of the first `k`, over the best possible (Järvelin and Kekäläinen 2002).

    Binary gains, discount 1 / log2(rank + 1), as trec_eval's `ndcg_cut`. None if `total` is 0.
    """
    if not total:
        return None
    gained = math.fsum(1 / math.log2(rank + 1) for rank, hit in enumerate(relevant[:k], 1) if hit)
    best = math.fsum(1 / math.log2(rank + 1) for rank in range(1, min(k, total) + 1))
    return min(gained / best, 1.0) if best else None


def character_scores(retrieved: Sequence[Span], gold: Sequence[Span]) -> CharacterScores:
    """Precision, recall and intersection over union of retrieved and gold ranges, by characters.

    As chunking_evaluation defines them (Smith and Troynikov 2024, `_scores_from_dataset_and_retrievals`):
    a gold character counts once however often it was retrieved, while every retrieved character counts
    in the denominators of precision and IoU as often as it was retrieved, so overlapping chunks cost.
    Gold ranges that overlap are united first; those published do not. All three are None without gold,
    and 0 if nothing was retrieved although there is gold.
    """
    shared = overlap(retrieved, gold)
    if not shared.other:
        return CharacterScores(None, None, None)
    shown = sum(map(len, retrieved))
    return CharacterScores(
        precision=shared.both / shown if shown else 0.0,
        recall=shared.both / shared.other,
        iou=shared.both / (shown + shared.other - shared.both),
    )


def best_of(values: Iterable[float | None]) -> float | None:
    """The largest of the scores against alternative gold sets; None if none is defined."""
    return max((value for value in values if value is not None), default=None)
