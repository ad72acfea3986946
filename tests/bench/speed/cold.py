"""The rows of processes that are started for each figure, and of a collection of many passages."""

from __future__ import annotations

import statistics
from pathlib import Path

from rag.config import Settings
from rag.session import open_embedder

from . import large, processes
from .asking import events
from .bars import Row, absent, measured, ratios
from .run import ARTICLE, Run


def starting(run: Run) -> list[Row]:
    """`footnote --help` and `ask --quote`, from nothing to their end."""
    help_s, pass_s, quote_s = [], [], []
    for question in run.questions[:7]:
        pass_s.append(processes.cold(["-c", "pass"])[0])
        help_s.append(processes.cold(processes.footnote("--help"))[0])
        flags = ("--quote", "--offline", "-c", str(collection_of(run)))
        quote_s.append(processes.cold(processes.footnote("ask", *flags, question.question))[0])
    bare = f"python -c pass takes {statistics.median(pass_s):.3f} s"
    return [measured("help", help_s, bare), measured("quote", quote_s)]


def answering(run: Run) -> list[Row]:
    """`footnote ask` from a saved reading."""
    ours, bare, worked = [], [], []
    for question in run.questions[:7]:
        took, answer = processes.cold_answer(question.question, run.collection, run.options.model)
        usage = answer["usage"]
        read = usage["prompt_tokens"] - usage["cached_tokens"]
        count = max(usage["completion_tokens"], 1)
        ours.append(took)
        bare.append(processes.cold_bare(run.model, run.threads, question.question, count))
        worked.append((read, usage["completion_tokens"]))
    run.found["cold"] = {"ours_s": ours, "bare_s": bare, "read_and_written": worked}
    return [
        measured(
            "cold",
            ratios(ours, bare),
            f"medians: {statistics.median(ours):.1f} s against {statistics.median(bare):.1f} s; ours "
            f"reads {statistics.median(one[0] for one in worked):.0f} tokens and writes "
            f"{statistics.median(one[1] for one in worked):.0f}, bare reads the question alone",
        )
    ]


def memory(run: Run) -> list[Row]:
    """Of `footnote serve` once it has answered."""
    log = run.folder / "serve.log"
    with processes.serving(collection_of(run), run.options.model, log) as (client, process_id):
        for question in run.questions[:3]:
            events(client, question.question)
        held = processes.memory_mb(process_id, run.model)
    if held is None:
        return [absent("memory", "this system does not tell")]
    run.found["memory_mb"] = held
    note = f"of the model file {held['model_file']:.0f} MB more are mapped; after three questions"
    return [measured("memory", [held["other"]], note)]


def many_passages(run: Run) -> list[Row]:
    """A search among many."""
    settings = Settings(offline=True)
    embedder = open_embedder(settings)
    passages = run.options.passages
    times = large.search_ms(run.folder / "large", passages, embedder, settings.rag.passages)
    note = f"{passages:,} passages of drawn words; search and ranking, without the way through HTTP"
    return [measured("sources_large", times, note)]


def collection_of(run: Run) -> Path:
    """With the article in it, made where the warm server has not made it."""
    if not (run.collection / "catalog.sqlite").exists():
        processes.cold(processes.footnote("index", "--offline", "-c", str(run.collection), str(ARTICLE)))
    return run.collection
