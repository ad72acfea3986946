"""What `footnote eval` does, from the gold file to the exit code.

What is cheap to refuse is refused first: the options, the gold file, the baseline, the gate, the result
file of another run. Only then is a model loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from index.errors import UsageError
from index.types import Embedder
from rag.calibrate import fit_gate, gate_text, was_fitted_on
from rag.claims import examine
from rag.commands import pulling
from rag.config import Settings
from rag.eval_table import calibration_lines, table_lines
from rag.evaluate import (
    OPEN_GATE,
    Asking,
    Examiner,
    Planned,
    Reading,
    Remembering,
    by_section,
    chosen,
    fill,
    gold_folder,
    learn_questions,
    require_sound,
)
from rag.gate import load_gate
from rag.generate import LlamaGenerator
from rag.gold import ClaimSet, GoldFormat, GoldSet, Question, load_claims, load_gold
from rag.jsonform import dumps
from rag.measures import GROUPS_OF
from rag.pipeline import Pipeline
from rag.present import Screen
from rag.report import render_report
from rag.results import Passed, Run
from rag.runs import (
    RunFile,
    changes,
    load_baseline,
    load_run,
    program,
    require_writable,
    run_object,
    write_baseline,
    write_text,
)
from rag.session import is_file, obtain, open_collection, open_embedder, open_generator, opened
from rag.summary import (
    differences_from,
    failures,
    kinds_of,
    limit_of,
    measures_of,
    metrics_of,
    require_common,
)
from rag.types import Generator
from rag.visible import visible

PASSED, FELL = 0, 1


@dataclass(frozen=True, slots=True)
class Options:
    """What was typed. `limits` are `metric=value`; `reading` says which sections are read beforehand."""

    gold: Path
    format: GoldFormat | Literal["wice"] = "footnote"
    limit: int | None = None
    sample: int | None = None
    asking: Asking = "compose"
    reading: Reading = "several"
    output: Path | None = None
    resume: bool = False
    baseline: Path | None = None
    new_baseline: Path | None = None
    limits: tuple[str, ...] = ()
    as_json: bool = False
    report: Path | None = None
    calibrates: bool = False
    new_gate: Path | None = None
    also: tuple[Path, ...] = ()


def options_of(gold: Path, *, retrieval_only: bool, quote: bool, read: bool | None, **typed: Any) -> Options:
    """What was typed, as one value. Raises UsageError for what excludes each other."""
    if retrieval_only and quote:
        raise UsageError("--retrieval-only answers nothing, --quote answers with quotations: choose one")
    asking: Asking = "retrieval" if retrieval_only else "quote" if quote else "compose"
    reading: Reading = "several" if read is None else "all" if read else "none"
    return Options(gold, asking=asking, reading=reading, **typed)


Watch = Callable[[str, int], Callable[[int], None]]
"""Begins a bar with this name and length; what it returns is called with what has been done since."""


def evaluate(settings: Settings, screen: Screen, options: Options) -> int:
    """The exit code: 0, or 1 if a metric fell or is beyond its limit. Raises FootnoteError."""
    _refuse_contradictions(options)
    claims = load_claims(options.gold) if options.format == "wice" else None
    gold = None if options.format == "wice" else load_gold(options.gold, options.format)
    purpose = "claims" if claims else options.asking
    measures = measures_of(GROUPS_OF[purpose])
    limits = [limit_of(text, measures) for text in options.limits]
    baseline = load_baseline(options.baseline) if options.baseline else None
    if baseline:
        require_common(baseline[1], _asked_of(gold, claims, options))
    earlier = [load_run(path) for path in options.also]
    for path in (options.report, options.new_baseline, options.new_gate):
        if path:
            require_writable(path)
    if claims:
        configuration, questions = _examined(claims, settings, screen, options)
    else:
        assert gold is not None
        configuration, questions = _asked(gold, settings, screen, options)
    if options.calibrates:
        return _calibrated(settings, screen, options, [(configuration, questions), *earlier])
    differences = differences_from(baseline[1], questions, measures) if baseline else ()
    metrics = metrics_of(questions, measures)
    run = Run(configuration, tuple(questions), metrics, differences, kinds_of(questions, measures))
    failed = failures(metrics, limits, differences)
    if options.new_baseline:
        write_baseline(options.new_baseline, run)
    if options.report:
        texts = {one.id: (one.title, one.text) for one in gold.documents} if gold else {}
        write_text(options.report, render_report(run, texts))
    if options.as_json:
        screen.write(dumps(run_object(run, failed)) + "\n")
    else:
        screen.write("".join(visible(line) + "\n" for line in table_lines(run)))
    if baseline and baseline[0].get("gold") != configuration["gold"]:
        screen.note("footnote: the baseline is of another gold file: only questions in both are compared")
    for line in failed:
        screen.note(f"footnote: {line}")
    return FELL if failed else PASSED


def _asked_of(gold: GoldSet | None, claims: ClaimSet | None, options: Options) -> list[tuple[str, str]]:
    """The id and the wording of what will be asked."""
    if claims:
        return [(one.id, one.text) for one in chosen(claims.claims, options.limit, options.sample)]
    assert gold is not None
    return [(one.id, one.question) for one in chosen(gold.questions, options.limit, options.sample)]


def _refuse_contradictions(options: Options) -> None:
    wants_answers = options.asking != "retrieval"
    if options.format == "wice" and options.asking != "compose":
        raise UsageError("claims are examined by the verifier alone: leave out --retrieval-only and --quote")
    if options.calibrates and (not wants_answers or options.format == "wice"):
        raise UsageError("--calibrate needs answers: leave out --retrieval-only, and ask questions, not wice")
    if options.calibrates and (options.baseline or options.new_baseline or options.limits or options.report):
        raise UsageError("--calibrate asks with an open gate, which is no evaluation: run it by itself")
    if not options.calibrates and (options.new_gate or options.also):
        raise UsageError("--write-gate and --also say what to do with a calibration: add --calibrate")
    if options.sample is not None and options.limit is None:
        raise UsageError("--sample draws questions by chance: say how many with --limit")


# -- asking -------------------------------------------------------------------------------------


def _asked(
    gold: GoldSet, settings: Settings, screen: Screen, options: Options
) -> tuple[dict[str, Any], list[Passed]]:
    questions = chosen(gold.questions, options.limit, options.sample)
    gate = load_gate(settings.rag.gate)
    if not options.calibrates and was_fitted_on(settings.rag.gate, gold.sha256):
        screen.note(
            "footnote: the gate was fitted to these very questions: refusals look better than they are"
        )
    composes = options.asking == "compose"
    with ExitStack() as stack:
        with pulling(screen) as notify:
            if composes and is_file(settings.rag.model):
                obtain(settings, settings.rag.model, "chat", notify)
            embedder = opened(stack, open_embedder(settings, notify))
        require_sound(questions, embedder, settings.rag.question_tokens)
        own = settings.model_copy(update={"collection": str(gold_folder(gold, embedder, settings))})
        generator = open_generator(own) if composes else None
        configuration = _configuration(gold, settings, options, embedder, generator)
        file = stack.enter_context(_run_file(gold.name, settings, options, configuration))
        if isinstance(generator, LlamaGenerator):
            stack.push(partial(_close, generator))
            generator.start()
        elif generator is not None:
            opened(stack, generator)
        collection = stack.enter_context(open_collection(own, embedder, must_exist=False))
        watch = stack.enter_context(_bars(screen))
        fill(collection, gold, watch("indexing", len(gold.documents)))
        planned = Planned(generator) if generator else None
        used = OPEN_GATE if options.calibrates else gate
        pipeline = Pipeline(collection, embedder, planned, settings.rag, used)
        # The same collection for what is not timed.
        remembering = Remembering(embedder)
        untimed = stack.enter_context(open_collection(own, remembering))
        learn_questions(questions, remembering, watch("embedding", len(questions)))
        planner = Pipeline(untimed, remembering, None, settings.rag, used)
        examiner = Examiner(
            gold, untimed, pipeline, gate, settings, asking=options.asking, calibrating=options.calibrates
        )
        try:
            if planned is None:
                _ask_in_order(questions, examiner, file, watch)
            else:
                _ask_by_section(questions, examiner, planner, planned, file, watch, options.reading)
        except KeyboardInterrupt:
            screen.note(
                f"Interrupted. {len(file.done)} of {len(questions)} questions are kept in {file.path}: "
                "the same command with --resume goes on from there."
            )
            raise
        screen.note(f"Each question is in {file.path}")
        return configuration, [file.done[question.id] for question in questions]


def _close(generator: LlamaGenerator, kind: type[BaseException] | None, *_: object) -> None:
    # Where Ctrl-C struck may still hold the generator's turn. Its process ends by itself with this one.
    if kind is None or not issubclass(kind, KeyboardInterrupt):
        generator.close()


def _ask_in_order(questions: Sequence[Question], examiner: Examiner, file: RunFile, watch: Watch) -> None:
    done = watch("asking", len(questions))
    for question in questions:
        if question.id not in file.done:
            file.append(examiner.passed(question))
        done(1)


def _ask_by_section(
    questions: Sequence[Question],
    examiner: Examiner,
    planner: Pipeline,
    planned: Planned,
    file: RunFile,
    watch: Watch,
    reading: Reading,
) -> None:
    # Over all questions, also those that an earlier part of the run has asked: the plan stays the same.
    groups = by_section(questions, planner, reading)
    planned.plan([one.section for one in groups if one.section is not None and one.is_read])
    done = watch("asking", len(questions))
    for group in groups:
        left = [question for question in group.questions if question.id not in file.done]
        done(len(group.questions) - len(left))
        if left and group.is_read and group.section is not None and not planned.has_reading(group.section):
            planned.read(group.section)
        for question in left:
            file.append(examiner.passed(question))
            done(1)


def _examined(
    claims: ClaimSet, settings: Settings, screen: Screen, options: Options
) -> tuple[dict[str, Any], list[Passed]]:
    wanted = chosen(claims.claims, options.limit, options.sample)
    configuration = {
        "program": program(),
        "gold": {"name": claims.name, "format": options.format, "sha256": claims.sha256},
        "asking": "claims",
        "limit": options.limit,
        "sample": options.sample,
        "settings": {"rag": {"support": settings.rag.support}},
    }
    with _run_file(claims.name, settings, options, configuration) as file, _bars(screen) as watch:
        done = watch("examining", len(wanted))
        for claim in wanted:
            # Whole claims are gone on with: what belongs to one is examined in no time.
            for passed in examine(claim, settings.rag.support):
                if passed.id not in file.done:
                    file.append(passed)
            done(1)
        screen.note(f"Each claim is in {file.path}")
        return configuration, list(file.done.values())


def _configuration(
    gold: GoldSet, settings: Settings, options: Options, embedder: Embedder, generator: Generator | None
) -> dict[str, Any]:
    """All that a result depends on: what differs here cannot be gone on with, or be blamed on a change."""
    return {
        "program": program(),
        "gold": {"name": gold.name, "format": gold.format, "sha256": gold.sha256},
        "asking": options.asking,
        "reading": options.reading if generator else "none",
        "calibrating": options.calibrates,
        "limit": options.limit,
        "sample": options.sample,
        "models": {
            "embedder": embedder.fingerprint,
            "chat": {"name": generator.name, "digest": generator.digest} if generator else None,
        },
        "gate": asdict(load_gate(settings.rag.gate)),
        "settings": {
            "index": settings.index.model_dump(mode="json"),
            "rag": settings.rag.model_dump(mode="json"),
        },
    }


def _run_file(name: str, settings: Settings, options: Options, configuration: dict[str, Any]) -> RunFile:
    path = options.output or settings.home / "eval" / f"{name}.jsonl"
    return RunFile(path, configuration, resume=options.resume)


@contextmanager
def _bars(screen: Screen) -> Iterator[Watch]:
    """Bars with the time that is left, one after another."""
    with screen.progress() as progress:

        def begin(name: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=total, counted=f"0/{total}")
            so_far = 0

            def done(count: int) -> None:
                nonlocal so_far
                so_far += count
                progress.update(task, completed=so_far, counted=f"{so_far}/{total}")

            return done

        yield begin


# -- calibrating --------------------------------------------------------------------------------


def _calibrated(
    settings: Settings, screen: Screen, options: Options, runs: Sequence[tuple[dict[str, Any], list[Passed]]]
) -> int:
    """Fit the gate to this run and those named by --also. Raises UsageError where they do not go together."""
    first = runs[0][0]
    for (configuration, _), path in zip(runs[1:], options.also, strict=True):
        if not configuration.get("calibrating"):
            raise UsageError(f"{path} is no run of --calibrate: its gate was not open; run it again with it")
        # Quotations need no model, so a run without one goes with every other.
        if differing := changes(first["models"], configuration["models"]):
            raise UsageError(f"{path} was made with other models ({'; '.join(differing)}): run it again")
    questions = [
        replace(question, id=f"{configuration['gold']['sha256']} {question.id}")
        for configuration, found in runs
        for question in found
    ]
    counts = Counter(question.id for question in questions)
    if twice := sum(count > 1 for count in counts.values()):
        raise UsageError(
            f"{twice} questions were asked in more than one of these runs, and each may count once only: "
            "name runs of other gold files with --also"
        )
    fits, kept = fit_gate(questions)
    fitted_on = [
        {**configuration["gold"], "questions": len(found), "models": configuration["models"]}
        for configuration, found in runs
    ]
    path = options.new_gate or settings.home / "gate.json"
    write_text(path, gate_text(fits, kept, load_gate(settings.rag.gate), fitted_on))
    if options.as_json:
        screen.write(dumps({"gate": str(path), "stages": {fit.stage: asdict(fit) for fit in fits}}) + "\n")
    else:
        screen.write("".join(visible(line) + "\n" for line in calibration_lines(fits)))
    for one in kept:
        screen.note(f"footnote: the stage {one.stage} is as it was: {one.reason}")
    screen.note(f"The gate is in {path}: it is used when the setting rag.gate names it.")
    return PASSED
