"""The files of an evaluation: results that come back, baselines, configurations, the commit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import UsageError
from rag import runs
from rag.jsonform import dumps
from rag.results import Passed, Run
from rag.types import Turn


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = Passed(
        "q1", "Où?\u2028", "fact", True, ("a",), ((("d", 1, 2), ("d", 5, 9)), (("e", 0, 1),)),
        {"status": "answered", "answer": "x"}, {"correct": 1.0}, 0.25, {"cosine": 0.5},
        history=(Turn("user", "Who?"),), stages={"before": {"cosine": 0.5}},
    )  # fmt: skip
    with runs.RunFile(tmp_path / "run.jsonl", {"limit": None}, resume=False) as file:
        file.append(whole)
    assert runs.load_run(tmp_path / "run.jsonl") == ({"limit": None}, [whole])
    runs.write_baseline(tmp_path / "baseline.json", Run({"limit": None}, (whole,), ()))
    configuration, (found,) = runs.load_baseline(tmp_path / "baseline.json")
    assert configuration == {"limit": None}
    assert found == replace(whole, answer=None, gold=(), signals={}, stages={}, history=())


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    whole = dumps(runs.passed_object(Passed("q1", "?", "fact", True, (), (), None, {"a": 1.0}, 0.5, {})))
    for damaged in ('{"id": 3}', "3", whole.replace("1.0", "NaN"), whole.replace("0.5", '"high"')):
        path.write_text(f'{{"configuration": {{"a": 1}}}}\n{whole}\n{damaged}\n{{}}\n')
        with pytest.raises(UsageError, match=r"line 3 of .* is no result"):
            runs.RunFile(path, {"a": 1}, resume=True)


def test_a_line_that_was_being_written_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"configuration": {"a": 1}}\n')
    whole = path.read_bytes()
    # Longer than what is written next, so that nothing of it is written over by luck.
    path.write_bytes(whole + b'{"id": "' + b"x" * 5000)
    one = Passed("q1", "?", "fact", True, (), (), None, {"correct": 1.0}, None, {})
    with runs.RunFile(path, {"a": 1}, resume=True) as file:
        assert file.done == {}
        assert path.read_bytes() == whole
        file.append(one)
    assert runs.load_run(path) == ({"a": 1}, [one])
    assert path.read_bytes().count(b"\n") == 2


def test_whether_a_file_can_be_written_is_known_without_writing_it(tmp_path: Path) -> None:
    there, absent = tmp_path / "there.html", tmp_path / "deep" / "absent.html"
    there.write_text("whole")
    runs.require_writable(there)
    runs.require_writable(absent)
    assert there.read_text() == "whole"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "there.html"]
    for nowhere in (there / "beneath", tmp_path / "deep"):
        with pytest.raises(UsageError, match="cannot be written"):
            runs.require_writable(nowhere)
        with pytest.raises(UsageError, match="cannot be written"):
            runs.write_text(nowhere, "text")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "there.html"]


def test_changes_are_named_by_their_place() -> None:
    before = {"settings": {"rag": {"support": 0.8, "seed": 0}}, "models": None, "order": (1, 2)}
    after = {"settings": {"rag": {"support": 0.9, "seed": 0}}, "models": {"chat": "m"}, "order": [1, 2]}
    assert runs.changes(before, after) == [
        "models.chat was nothing and is m",
        "settings.rag.support was 0.8 and is 0.9",
    ]
    assert runs.changes(before, json.loads(json.dumps(before))) == []


def test_the_commit_is_that_of_the_source_and_of_no_other_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    package = tmp_path / "rag"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "runs.py").write_text("")
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    git("init", "-q")
    # As an environment inside somebody's checkout: there is a commit, but it is not this source's.
    git("commit", "-q", "--allow-empty", "-m", "theirs")
    assert runs.program()["commit"] is None
    git("add", "rag")
    git("commit", "-qm", "x")
    head = git("rev-parse", "HEAD")
    assert runs.program()["commit"] == head
    (package / "runs.py").write_text("x = 1\n")
    assert runs.program()["commit"] == f"{head}-dirty"
