"""Questions about the seed article with two endpoints up, one of which ends half-way, amid a draft.

    python tests/bench/endpoints.py 100 smollm2-135m up kill stop

Asked as often as is said behind, three times by default: with both up, with one killed (SIGKILL), and with
one that stands still (SIGSTOP) and says nothing more, which takes `SILENCE_S` to notice. The gate is open,
so that every question is drafted. Each has to be answered, refused, or end in one error, and none may take
longer than the longest of the first run and twice the time for silence. Prints one JSON object a run; the
exit code is 1 when a promise was broken. Needs xllamacpp, the model and the embedder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from llama_server import llama_server

from index.collection import LocalCollection
from index.errors import FootnoteError
from index.ingest import index_paths
from index.models import ModelStore
from index.remembered import RememberingEmbedder
from index.types import Embedder
from rag.config import Settings
from rag.elsewhere import generator_elsewhere
from rag.evaluate import OPEN_GATE
from rag.gold import load_gold
from rag.pipeline import Pipeline
from rag.session import open_embedder
from rag.types import Generator, Piece, Prompt
from rag.wrapped import WrappedGenerator

SEEDS = Path(__file__).parent.parent.parent / "seeds"
SILENCE_S = 10.0


class Ending(WrappedGenerator):
    """Once it is armed, the next draft has an end brought about after its first piece."""

    def __init__(self, inner: Generator, end: Callable[[], None]) -> None:
        super().__init__(inner)
        self._end = end
        self.is_armed = False
        self.ended_in: int | None = None
        self.question = 0

    def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
        for piece in super().generate(prompt, **options):
            yield piece
            if self.is_armed:
                self.is_armed = False
                self.ended_in = self.question
                self._end()


def asked(
    questions: list[str], settings: Settings, collection: LocalCollection, embedder: Embedder, how: str
) -> dict[str, Any]:
    """What became of each question, and how long it took."""
    model = ModelStore(settings.models_folder, offline=True).locate(settings.rag.model, "chat")
    with llama_server(model, "chat") as first, llama_server(model, "chat") as second:
        urls = f"{first.url},{second.url}"
        own = settings.model_copy(update={"rag": settings.rag.model_copy(update={"model": urls})})
        end = {"kill": first.kill, "stop": first.stop}.get(how, lambda: None)
        with generator_elsewhere(own) as generator:
            ending = Ending(generator, end)
            pipeline = Pipeline(collection, embedder, ending, own.rag, OPEN_GATE)
            outcomes, seconds = [], []
            for number, question in enumerate(questions):
                ending.question = number
                ending.is_armed = ending.is_armed or number == len(questions) // 2
                began = time.monotonic()
                try:
                    answer = pipeline.ask(question)
                    outcomes.append(f"{answer.status}: {answer.answer}")
                except FootnoteError as error:
                    outcomes.append(f"error: {error}")
                seconds.append(time.monotonic() - began)
        return {"how": how, "outcomes": outcomes, "seconds": seconds, "ended_in": ending.ended_in}


def said(run: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    kinds = [outcome.partition(":")[0] for outcome in run["outcomes"]]
    half = len(kinds) // 2
    pairs = zip(run["outcomes"], first["outcomes"], strict=True)
    at = run["ended_in"]
    return {
        "how": run["how"],
        "questions": len(kinds),
        **{kind: kinds.count(kind) for kind in ("answered", "unanswerable", "error")},
        "errors": [outcome for outcome in run["outcomes"] if outcome.startswith("error")],
        "same_as_the_first": sum(one == other for one, other in pairs),
        "ended_in_question": at,
        "that_question_s": None if at is None else round(run["seconds"][at], 2),
        "median_s_before": round(statistics.median(run["seconds"][:half]), 2),
        "median_s_after": round(statistics.median(run["seconds"][half:]), 2),
        "longest_s": round(max(run["seconds"]), 2),
    }


def main(count: int, model: str, ways: list[str]) -> int:
    base = Settings(offline=True)
    with tempfile.TemporaryDirectory() as folder:
        rag = base.rag.model_copy(update={"model": model, "model_silence_s": SILENCE_S})
        settings = base.model_copy(update={"collection": folder, "rag": rag})
        embedder = RememberingEmbedder(open_embedder(settings))
        gold = load_gold(SEEDS / "gold.jsonl")
        questions = [one.question for one in islice(gold.questions, count)]
        with LocalCollection.create_or_open(Path(folder), embedder, settings.index) as collection:
            index_paths(collection, [next(SEEDS.glob("*.txt"))], settings.index)
            runs = [asked(questions, settings, collection, embedder, how) for how in ways]
    found = [said(run, runs[0]) for run in runs]
    for one in found:
        print(json.dumps(one), flush=True)
    longest = found[0]["longest_s"] + 2 * SILENCE_S
    sound = all(one["longest_s"] <= longest and one["error"] <= 1 for one in found)
    return 0 if sound and found[0]["error"] == 0 else 1


if __name__ == "__main__":
    sys.exit(
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 100,
            sys.argv[2] if len(sys.argv) > 2 else "smollm2-135m",
            sys.argv[3:] or ["up", "kill", "stop"],
        )
    )
