"""One run of the bench: what is measured together, and the rows that come of it."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import httpx2

from rag.metrics import mean_defined, percentile

from . import asking, cold
from .bars import Row, absent, in_order, measured, ratios
from .children import HERE, ROOT, Child, ChildFailed, child
from .run import ARTICLE, Run, say

EIGHT = 8
WRITTEN = 48
"""Tokens that are written where writing is timed."""
STEPS = (1, 2, 4, 8, 16, 32, 64)
ANSWERED = ("sources", "own_work", "prompt", "first_token", "finished", "precision")
WRITING = ("writing", "writing_server", "lookup")


class Bench:
    """Measures, part by part. A part that fails leaves its rows without a figure and says why."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: list[Row] = []
        self.absent: dict[str, str] = {}

    def measure(self) -> list[Row]:
        run = self.run
        self._guarded((*ANSWERED, *WRITING, "eight", "cold"), self._warm)
        for keys, part in (
            (("help", "quote"), cold.starting),
            (("cold",), cold.answering),
            (("memory",), cold.memory),
            (("sources_large",), cold.many_passages),
        ):
            self._guarded(keys, lambda part=part: self.rows.extend(part(run)))  # type: ignore[misc]
        return in_order(self.rows)

    # -- one server, and everything that is measured beside it ----------------------------------

    def _warm(self) -> None:
        with contextlib.ExitStack() as stack:
            say("model and collection")
            warm = stack.enter_context(asking.warm(self.run.collection, self.run.options.model, ARTICLE))
            warm.read(self.run.questions)
            warm.ask(self.run.questions[-1])  # the first question warms everything up
            bare = stack.enter_context(self._bare())
            self._guarded(ANSWERED, lambda: self._answered(warm, bare))
            self._guarded(WRITING, lambda: self._writing(warm, bare))
            self._guarded(("eight",), lambda: self._eight(warm))

    def _answered(self, warm: asking.Warm, bare: Child) -> None:
        with contextlib.ExitStack() as stack:
            peers = self._peers(stack)
            say(f"{len(self.run.questions)} questions to ours and to {', '.join(peers) or 'no peer'}")
            ours, theirs = asking.asked_in_turn(warm, peers, self.run.questions)
        self._note_answers(ours, theirs)
        self._sources(ours)
        self._against_peers(ours, theirs)
        if self.run.wants("first_token"):
            self._first_token(warm, bare, ours)

    def _bare(self) -> contextlib.AbstractContextManager[Child]:
        command = [sys.executable, str(HERE / "bare.py"), str(self.run.model), "4096", str(self.run.threads)]
        return child(command, log=self.run.folder / "bare.log")

    def _peers(self, stack: contextlib.ExitStack) -> dict[str, Child]:
        given = dict(one.split("=", 1) for one in self.run.options.peer_python.split(",") if "=" in one)
        found = {}
        offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        for name in self.run.options.against:
            python = given.get(name, self.run.options.peer_python if not given else "") or sys.executable
            command = asking.peer_command(
                python, name, self.run.model, self.run.embedder, ARTICLE, self.run.threads
            )
            say(f"peer {name}")
            try:
                log = self.run.folder / f"{name}.log"
                found[name] = stack.enter_context(child(command, log=log, environment=offline))
            except (ChildFailed, OSError) as error:
                self.absent[name] = f"{name} could not be run: {error}"
                print(self.absent[name], file=sys.stderr)
        return found

    def _note_answers(self, ours: Sequence[asking.Asked], theirs: dict[str, list[dict[str, Any]]]) -> None:
        self.run.found["ours"] = [
            {
                "question": one.question.question,
                "status": one.answer["status"],
                "answer": one.answer["answer"],
                "sources_s": one.sources_s,
                "total_s": one.total_s,
                "model_s": one.model_s,
                "first_token_s": one.first_token_s,
                "probe_s": one.probe_s,
                "sent": one.sent,
                "read": one.read,
                "written": one.written,
                "precision": one.precision,
            }
            for one in ours
        ]
        self.run.found["peers"] = theirs

    def _sources(self, ours: Sequence[asking.Asked]) -> None:
        self.rows.append(measured("sources", [1000 * one.sources_s for one in ours]))
        shares = [1 - one.model_s / one.total_s for one in ours]
        rest = statistics.median(1000 * (one.total_s - one.model_s) for one in ours)
        whole = statistics.median(one.total_s for one in ours)
        self.rows.append(measured("own_work", shares, f"{rest:.0f} ms of {whole:.2f} s"))

    def _against_peers(self, ours: Sequence[asking.Asked], theirs: dict[str, list[dict[str, Any]]]) -> None:
        missing = "; ".join(self.absent.values())
        if "llama_index" in theirs:
            read = [one["read"] for one in theirs["llama_index"]]
            sent = statistics.median(one["sent"] for one in theirs["llama_index"])
            note = (
                f"tokens read anew, medians: {statistics.median(one.read for one in ours):.0f} (of "
                f"{statistics.median(one.sent for one in ours):.0f} sent) against "
                f"{statistics.median(read):.0f} (of {sent:.0f})"
            )
            self.rows.append(measured("prompt", ratios([one.read for one in ours], read), note))
        else:
            self.rows.append(absent("prompt", missing or "LlamaIndex was not asked for: --against"))
        if not theirs:
            for key in ("finished", "precision"):
                self.rows.append(absent(key, missing or "no peer was asked for: --against"))
            return
        whole = statistics.median(one.total_s for one in ours)
        medians = {
            name: statistics.median(one["wall"] for one in answers) for name, answers in theirs.items()
        }
        fastest = min(medians, key=lambda name: medians[name])
        said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in medians.items())
        self.rows.append(
            measured(
                "finished",
                ratios([one["wall"] for one in theirs[fastest]], [one.total_s for one in ours]),
                f"medians: ours {whole:.1f} s, {said}; the fastest is {fastest}"
                + (f"; {missing}" if missing else ""),
                self._work_of(ours),
            )
        )
        own = mean_defined(one.precision for one in ours)
        scores = {
            name: mean_defined(
                asking.peer_precision(answer, question, self.run.document_id)
                for answer, question in zip(answers, self.run.questions, strict=True)
            )
            for name, answers in theirs.items()
        }
        best = max((score for score in scores.values() if score), default=None)
        answered = sum(one.precision is not None for one in ours)
        note = f"means: ours {own or 0:.3f} ({answered} of {len(ours)} answered), " + ", ".join(
            f"{name} {score or 0:.3f}" for name, score in scores.items()
        )
        values = [own / best] if own is not None and best else []
        self.rows.append(measured("precision", values, note))

    def _work_of(self, ours: Sequence[asking.Asked]) -> str:
        """What the model did for an answer, and what that would take at the machine's limits."""
        read = statistics.median(one.read for one in ours)
        written = statistics.median(one.written for one in ours)
        took = statistics.median(one.model_s for one in ours)
        least = read / self.run.most_read
        least += written / self.run.most_written
        return (
            f"the model reads {read:.0f} and writes {written:.0f} tokens for it in {took:.2f} s; at the "
            f"machine's limits ({self.run.limits.gflop_s:.0f} GFLOP/s in float32, "
            f"{self.run.limits.read_gb_s:.1f} GB/s) this takes {least:.2f} s: {took / least:.1f} times less"
        )

    def _first_token(self, warm: asking.Warm, bare: Child, ours: Sequence[asking.Asked]) -> None:
        anew, first, plain = [], [], []
        tokens = 0
        for one in ours:
            if not one.first_token_s:
                continue  # refused before it was drafted
            read = bare.ask({"read": asking.plain(warm.section(one.question))})
            anew.append(read["seconds"])
            tokens = read["tokens"]
            first.append(one.first_token_s)
            plain.append(one.first_token_s - one.probe_s)
        speed = tokens / statistics.median(anew) if anew else 0
        most = self.run.most_read
        without = statistics.median(ratios(plain, anew)) if anew else 0
        self.rows.append(
            measured(
                "first_token",
                ratios(first, anew),
                f"medians: {statistics.median(first):.2f} s against {statistics.median(anew):.1f} s for "
                f"{tokens} tokens; without the probe before the draft {without:.3f} times"
                if anew
                else "no question was drafted",
                f"bare llama.cpp reads {speed:.0f} tokens a second, {100 * speed / most:.0f} % of what "
                "float32 arithmetic allows",
            )
        )

    def _writing(self, warm: asking.Warm, bare: Child) -> None:
        say("writing")
        section = warm.section(self.run.questions[0])
        text = asking.plain(section) + asking.RETELL
        ours, alone, served = [], [], []
        with contextlib.ExitStack() as stack:
            try:
                sys.path.insert(0, str(ROOT / "tests"))
                from llama_server import llama_server

                server = stack.enter_context(llama_server(self.run.model, "chat", threads=self.run.threads))
                client = stack.enter_context(httpx2.Client(base_url=server.url, timeout=600, trust_env=False))
            except (ImportError, AssertionError) as error:
                client, why = None, f"xllamacpp could not be run: {error}"
            asking.writing(warm, section, 2)  # what is read for it is held from now on
            for _ in range(7):
                ours.append(asking.writing(warm, section, WRITTEN))
                said = bare.ask({"write": text, "count": WRITTEN})
                alone.append(said["tokens"] / said["seconds"])
                if client is not None:
                    served.append(asking.written_elsewhere(client, section, WRITTEN))
        most = self.run.most_written
        steps = dict(zip(STEPS, bare.ask({"steps": STEPS})["seconds"], strict=True))
        self.run.found["steps_s"] = steps
        self.run.found["tokens_a_second"] = {"ours": ours, "bare": alone, "xllamacpp": served}
        median = statistics.median(ours)
        self.rows.append(
            measured(
                "writing",
                ratios(ours, alone),
                f"medians: {median:.1f} against {statistics.median(alone):.1f} tokens a second",
                f"memory is read at {self.run.limits.read_gb_s:.1f} GB/s, which allows {most:.1f} tokens: "
                f"{100 * median / most:.0f} % of it",
            )
        )
        if served:
            note = f"medians: {median:.1f} against {statistics.median(served):.1f} tokens a second"
            self.rows.append(measured("writing_server", ratios(ours, served), note))
        else:
            self.rows.append(absent("writing_server", why))
        self.rows.append(
            absent(
                "lookup",
                "there is no prompt lookup here; an evaluation of 4 tokens at once takes "
                f"{steps[4] / steps[1]:.2f} times as long as of one, of 8 {steps[8] / steps[1]:.2f} times",
            )
        )

    def _eight(self, warm: asking.Warm) -> None:
        say("eight users")
        questions = [self.run.questions[at % len(self.run.questions)] for at in range(EIGHT)]
        gains, waits = [], []
        for _ in range(self._rounds()):
            alone, at_once, waited = asking.together(warm, questions)
            gains.append(alone / at_once)
            waits += waited
        p95 = percentile(waits, 0.95) or 0.0
        self.run.found["eight"] = {"gains": gains, "waits_s": waits}
        self.rows.append(
            measured(
                "eight",
                gains,
                f"p50 wait {statistics.median(waits):.1f} s, p95 {p95:.1f} s until the finished answer",
                self._batching(),
            )
        )

    def _rounds(self) -> int:
        return 3 if len(self.run.questions) >= EIGHT else 1

    def _batching(self) -> str:
        """What writing eight answers in one evaluation could give at most, by what evaluations take here."""
        steps, ours = self.run.found.get("steps_s"), self.run.found.get("ours")
        if not steps or not ours:
            return ""
        written = statistics.median(one["written"] for one in ours)
        whole = statistics.median(one["total_s"] for one in ours)
        saved = written * (steps[1] - steps[8] / 8)
        return (
            f"one context, one sequence: writing eight answers in one evaluation each would save "
            f"{saved:.2f} s of {whole:.2f} s an answer, {whole / max(whole - saved, 0.01):.2f} times"
        )

    def _guarded(self, keys: Sequence[str], work: Callable[[], None]) -> None:
        """One part that fails leaves its rows without a figure, and says why; the others go on."""
        if not self.run.wants(*keys):
            return
        try:
            work()
        except Exception as error:
            words = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            why = " ".join(str(words).split())[-300:] or type(error).__name__
            known = {row.bar.key for row in self.rows}
            self.rows += [absent(key, f"failed: {why}") for key in keys if key not in known]
