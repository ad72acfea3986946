"""The files of an evaluation: results appended question by question, and baselines.

A result file is JSONL. Its first line is the configuration, every other one a question as it was answered;
each is on the disk before the next question is asked. A baseline is one JSON object: the configuration, the
metrics, and each question's scores on a line of its own, so that two of them compare line by line.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Any

from index.errors import UsageError
from rag.confidence import Interval
from rag.jsonform import dumps
from rag.results import Difference, Metric, Passed, Run
from rag.types import Turn

_FIELDS = {field.name for field in fields(Passed)}
_BASELINE_LEAVES_OUT = ("answer", "gold", "signals", "stages", "history")


class RunFile:
    """The results of one run, on disk as they come. Use it in a `with` statement."""

    def __init__(self, path: Path, configuration: Mapping[str, Any], *, resume: bool) -> None:
        """With `resume`, go on with what is there; else begin anew, in place of an earlier run.

        Raises UsageError for a file that is no run, for one with another configuration, of which it names
        what differs, and where nothing can be written.
        """
        self.path = path
        self.done: dict[str, Passed] = {}
        try:
            self._file = self._opened(path, configuration, resume)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}; choose another with --output"
            ) from error

    def _opened(self, path: Path, configuration: Mapping[str, Any], resume: bool) -> BufferedRandom:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and not path.exists():
            raise UsageError(f"{path} is not there: there is no run to go on with; leave out --resume")
        if path.exists() and path.stat().st_size:
            # Before anything of it is lost: the file may be something else entirely.
            there, done, length = _read(path)
            if resume:
                if changed := changes(there, configuration):
                    raise UsageError(
                        f"{path} was made with another configuration, so the run cannot go on: "
                        f"{'; '.join(changed)}; run it as before, or begin anew without --resume"
                    )
                self.done = {one.id: one for one in done}
                file = path.open("r+b")
                # A line that was being written when the run ended is written again.
                file.truncate(length)
                file.seek(length)
                return file
        file = path.open("w+b")
        _append(file, {"configuration": configuration})
        return file

    def append(self, passed: Passed) -> None:
        _append(self._file, passed_object(passed))
        self.done[passed.id] = passed

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _append(file: BufferedRandom, value: dict[str, Any]) -> None:
    file.write(dumps(value).encode("utf-8") + b"\n")
    file.flush()
    os.fsync(file.fileno())


def load_run(path: Path) -> tuple[dict[str, Any], list[Passed]]:
    """The configuration and the questions of a result file. Raises UsageError."""
    configuration, done, _ = _read(path)
    return configuration, done


def _read(path: Path) -> tuple[dict[str, Any], list[Passed], int]:
    """The configuration, the questions, and how many bytes their whole lines take."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    whole = data[: data.rfind(b"\n") + 1]
    done: list[Passed] = []
    configuration: dict[str, Any] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            if number == 1:
                configuration = dict(json.loads(line)["configuration"])
            else:
                done.append(passed_of(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == 1:
                break
            raise UsageError(f"line {number} of {path} is no result: begin anew without --resume") from error
    if not configuration:
        raise UsageError(f"{path} is no result file of footnote eval: it is left as it is; choose another")
    return configuration, done, len(whole)


def passed_object(passed: Passed) -> dict[str, Any]:
    return asdict(passed)


def passed_of(value: Mapping[str, Any]) -> Passed:
    """Raises KeyError, TypeError and ValueError for what is none, and for a score that is no number."""
    numbers = [*value["scores"].values(), *([] if value["confidence"] is None else [value["confidence"]])]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise ValueError("a score is no number")
    if not all(isinstance(value[name], str) for name in ("id", "question", "kind")):
        raise TypeError("a name is no text")
    known = {name: value[name] for name in _FIELDS & value.keys()}
    return Passed(
        **{
            **known,
            "gold_answers": tuple(value["gold_answers"]),
            "gold": tuple(
                tuple((document, start, end) for document, start, end in one) for one in value["gold"]
            ),
            "history": tuple(Turn(**turn) for turn in value.get("history", ())),
        }
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations: "settings.rag.support was 0.8 and is 0.9"."""
    old, new = _flat(before), _flat(after)
    pairs = [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    return [f"{key} was {_said(one)} and is {_said(other)}" for key, one, other in pairs if one != other]


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {
            key: found
            for name, inner in value.items()
            for key, found in _flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    # As JSON has it, so that what was written and what is now compare.
    return {prefix: json.loads(json.dumps(value, default=str))}


# -- baselines ----------------------------------------------------------------------------------


def write_baseline(path: Path, run: Run) -> None:
    """Scores and configuration, replaced at once. Raises UsageError where it cannot be written."""
    lines = []
    for question in run.questions:
        value = passed_object(question)
        lines.append(dumps({name: value[name] for name in value if name not in _BASELINE_LEAVES_OUT}))
    metrics = {metric.name: metric_object(metric) for metric in run.metrics}
    head = json.dumps(
        {"configuration": run.configuration, "metrics": metrics},
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )
    questions = ",\n  ".join(lines)
    write_text(path, f'{head.removesuffix(chr(10) + "}")},\n "questions": [\n  {questions}\n ]\n}}\n')


def load_baseline(path: Path) -> tuple[dict[str, Any], list[Passed]]:
    """The configuration and the questions of a baseline. Raises UsageError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        left_out: dict[str, Any] = {"answer": None, "gold": (), "signals": {}}
        questions = [passed_of({**left_out, **one}) for one in found["questions"]]
        return dict(found["configuration"]), questions
    except OSError as error:
        raise UsageError(f"the baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no baseline: write one with --write-baseline") from error


def write_text(path: Path, text: str) -> None:
    """A whole file or none. Raises UsageError."""
    with _beside(path) as new:
        new.write_text(text, encoding="utf-8")
        new.replace(path)


def require_writable(path: Path) -> None:
    """Raises UsageError where `write_text` would: before an hour of asking, not after it."""
    with _beside(path) as new:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        new.write_text("", encoding="utf-8")
        new.unlink()


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file") from error


# -- as JSON ------------------------------------------------------------------------------------


def metric_object(metric: Metric) -> dict[str, Any]:
    value = asdict(metric)
    del value["name"]
    value["interval"] = _interval(metric.interval)
    if not value["reason"]:
        del value["reason"]
    return value


def difference_object(difference: Difference) -> dict[str, Any]:
    value = asdict(difference)
    del value["name"]
    value["interval"] = _interval(difference.interval)
    return value


def run_object(run: Run, failed: Sequence[str]) -> dict[str, Any]:
    """What `--json` prints; the questions stand in the result file."""
    return {
        "passed": not failed,
        "failures": list(failed),
        "questions": len(run.questions),
        "metrics": {metric.name: metric_object(metric) for metric in run.metrics},
        "kinds": {
            kind: {metric.name: metric_object(metric) for metric in metrics}
            for kind, metrics in run.kinds.items()
        },
        "differences": {one.name: difference_object(one) for one in run.differences},
        "configuration": dict(run.configuration),
    }


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


# -- where it was made --------------------------------------------------------------------------


def program() -> dict[str, Any]:
    """The version, and the commit where the source is tracked by git ("-dirty" if it was changed)."""
    try:
        found = version("footnote")
    except PackageNotFoundError:
        found = "(not installed)"
    return {"version": found, "commit": _commit(Path(__file__).parent)}


def _commit(folder: Path) -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An environment inside somebody else's checkout is not at that checkout's commit.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
