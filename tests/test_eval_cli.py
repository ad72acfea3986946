"""`footnote eval` as it is typed: output, exit codes, going on, and the gate that damage does not pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_home import GATE, environment
from eval_gold import DAMAGED, DRAFTS, drafting, write_gold

from rag.cli import run
from rag.gate import load_gate
from rag.pipeline import Pipeline
from rag.types import Answer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write_gold(tmp_path)


@pytest.fixture
def footnote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `footnote eval` in this process with the generator of eval_gold: (exit code, stdout, stderr)."""
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rag.eval_command.open_generator", drafting)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(["eval", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def metrics(output: str) -> dict[str, Any]:
    return {name: found["value"] for name, found in json.loads(output)["metrics"].items()}


def test_a_sound_pipeline(footnote: Run, gold: Path, tmp_path: Path) -> None:
    code, out, err = footnote(gold, "--json")
    assert code == 0
    assert err == f"Each question is in {tmp_path}/home/eval/gold.jsonl\n"
    found = metrics(out)
    for name in (
        "correct",
        "citation_exactness",
        "citation_support",
        "figures_supported",
        "citation_precision",
    ):
        assert found[name] == 1.0, name
    assert found["refusal_precision"] == found["refusal_recall"] == 1.0
    assert found["document_recall@1"] == found["hasans_f1"] / found["hasans_f1"] == 1.0
    assert found["prompt_tokens"] > 0
    kinds = json.loads(out)["kinds"]
    assert kinds["number"]["right_when_answerable"]["value"] == 1.0
    assert kinds["missing"]["right_when_answerable"]["value"] is None
    assert json.loads(out)["questions"] == 16


def test_two_runs_agree(footnote: Run, gold: Path) -> None:
    def steady(output: str) -> dict[str, Any]:
        return {name: found for name, found in json.loads(output)["metrics"].items() if found["unit"] != "ms"}

    one, other = (footnote(gold, "--json")[1] for _ in range(2))
    assert steady(one) == steady(other)
    assert len(steady(one)) > 30


@pytest.mark.parametrize(
    ("damaged", "name", "most"), DAMAGED, ids=lambda value: getattr(value, "__name__", "")
)
def test_damage_moves_the_metric_that_names_it_and_never_passes(
    footnote: Run,
    gold: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damaged: type[Pipeline],
    name: str,
    most: float,
) -> None:
    baseline = tmp_path / "baseline.json"
    assert footnote(gold, "--write-baseline", baseline)[0] == 0
    limit = f"{name}=0.95"
    assert footnote(gold, "--baseline", baseline, "--fail-under", limit)[0] == 0
    monkeypatch.setattr("rag.eval_command.Pipeline", damaged)
    code, out, err = footnote(gold, "--baseline", baseline, "--json")
    assert code == 1
    assert metrics(out)[name] <= most
    assert json.loads(out)["differences"][name]["verdict"] == "worse"
    assert json.loads(out)["passed"] is False
    assert f"footnote: {name} got worse: 1 →" in err
    code, _, err = footnote(gold, "--fail-under", limit)
    assert code == 1
    assert f"footnote: {name} is {metrics(out)[name]:.4g}, under 0.95" in err


def test_swapped_citations_move_nothing_else(
    footnote: Run, gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.eval_command.Pipeline", DAMAGED[1][0])
    found = metrics(footnote(gold, "--json")[1])
    assert found["citation_exactness"] == found["citation_precision"] == found["correct"] == 1.0


def test_an_undefined_metric_passes_no_limit(
    footnote: Run, gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.eval_command.Pipeline", DAMAGED[3][0])
    code, _, err = footnote(gold, "--fail-under", "citation_exactness=1")
    assert code == 1
    assert "footnote: citation_exactness is undefined (nothing was cited), and 1 was asked for" in err


def test_a_limit_from_above(footnote: Run, gold: Path) -> None:
    code, _, err = footnote(gold, "--quote", "--fail-under", "aurc=-1", "--fail-under", "calibration_error=1")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("footnote:")]
    assert line.startswith("footnote: aurc is")
    assert line.endswith(", over -1")


def test_the_table(footnote: Run, gold: Path) -> None:
    code, out, _ = footnote(gold)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["citation_exactness", "1.000", "1.000", "to", "1.000", "8"] in lines
    assert ["missing", "8", "–", "1.000", "–", "1.000", "–"] in lines
    assert "nan" not in out.lower()


def test_without_a_model(footnote: Run, gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.eval_command.open_generator", None)
    quoted = metrics(footnote(gold, "--no-model", "--json")[1])
    assert quoted["citation_exactness"] == 1.0
    assert quoted["first_token_ms_p50"] is quoted["prompt_tokens"] is None
    found = metrics(footnote(gold, "--retrieval-only", "--json")[1])
    assert "correct" not in found
    assert found["passage_recall@10"] == quoted["passage_recall@10"]


def test_an_undefined_metric_says_why(footnote: Run, gold: Path) -> None:
    _, out, _ = footnote(gold, "--quote")
    assert out.endswith(
        "\nUndefined\n"
        "  first_token_ms_p50, first_token_ms_p95, prompt_tokens, completion_tokens: no model wrote\n"
    )


# -- going on -----------------------------------------------------------------------------------


class Interrupted(Pipeline):
    """Ctrl-C at the sixth question."""

    asked: int = 0

    def ask(self, question: str, *arguments: Any, **options: Any) -> Answer:
        if self.asked == 5:
            raise KeyboardInterrupt
        self.asked += 1
        return super().ask(question, *arguments, **options)


def test_it_goes_on_after_an_interruption(
    footnote: Run, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "run.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr("rag.eval_command.Pipeline", Interrupted)
        code, out, err = footnote(gold, "--output", kept)
        assert (code, out) == (130, "")
        assert f"5 of 16 questions are kept in {kept}" in err
    before = kept.read_bytes()
    assert len(before.splitlines()) == 6
    # As after a power cut: a line was being written.
    kept.write_bytes(before + b'{"id": "a3", "ques')
    asked: list[str] = []

    class Counted(Pipeline):
        def ask(self, question: str, *arguments: Any, **options: Any) -> Answer:
            asked.append(question)
            return super().ask(question, *arguments, **options)

    monkeypatch.setattr("rag.eval_command.Pipeline", Counted)
    # The drafts of the three answerable questions among the first five have been used.
    monkeypatch.setattr("rag.eval_command.open_generator", lambda *_: type(drafting())(DRAFTS[3:]))
    code, out, _ = footnote(gold, "--output", kept, "--resume", "--json")
    assert code == 0
    assert len(asked) == 11
    assert kept.read_bytes().startswith(before)
    assert len(kept.read_bytes().splitlines()) == 17
    assert metrics(out)["correct"] == 1.0
    assert footnote(gold, "--output", kept, "--resume", "--json")[1] == out
    assert len(asked) == 11


def test_it_does_not_go_on_with_another_configuration(
    footnote: Run, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "run.jsonl"
    footnote(gold, "--output", kept)
    before = kept.read_bytes()
    monkeypatch.setenv("FOOTNOTE_RAG__SUPPORT", "0.7")
    code, _, err = footnote(gold, "--output", kept, "--resume", "--limit", "3")
    assert code == 2
    assert "limit was nothing and is 3; settings.rag.support was 0.8 and is 0.7;" in err
    assert kept.read_bytes() == before


def test_a_new_run_takes_the_place_of_an_old_one_and_of_nothing_else(
    footnote: Run, gold: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "run.jsonl"
    assert footnote(gold, "--output", kept)[0] == 0
    assert footnote(gold, "--output", kept, "--limit", "3")[0] == 0
    assert len(kept.read_bytes().splitlines()) == 4
    before = gold.read_bytes()
    code, _, err = footnote(gold, "--output", gold)
    assert code == 2
    assert "is no result file of footnote eval" in err
    assert gold.read_bytes() == before


def test_there_must_be_something_to_go_on_with(footnote: Run, gold: Path, tmp_path: Path) -> None:
    code, _, err = footnote(gold, "--output", tmp_path / "none.jsonl", "--resume")
    assert code == 2
    assert "there is no run to go on with" in err


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fail-under", "citation_exactnes=1"), "did you mean citation_exactness"),
        (("--fail-under", "correct"), "write it like correct=0.9"),
        (("--fail-under", "correct=nan"), "write it like correct=0.9"),
        (("--retrieval-only", "--fail-under", "correct=1"), "has no metric 'correct'"),
        (("--retrieval-only", "--quote"), "choose one"),
        (("--sample", "1"), "--limit"),
        (("--calibrate", "--fail-under", "correct=1"), "run it by itself"),
        (("--calibrate", "--retrieval-only"), "--calibrate needs answers"),
        (("--format", "wice", "--retrieval-only"), "examined by the verifier alone"),
        (("--write-gate", "x.json"), "add --calibrate"),
        (("--baseline", "absent.json"), "the baseline absent.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    footnote: Run, gold: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = footnote(gold, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "home" / "eval").exists()


@pytest.mark.parametrize("option", ["--report", "--write-baseline", "--write-gate"])
def test_what_cannot_be_written_is_told_before_anything_runs(
    footnote: Run, gold: Path, tmp_path: Path, option: str
) -> None:
    calibrates = ["--calibrate"] if option == "--write-gate" else []
    code, out, err = footnote(gold, option, gold / "beneath-a-file", *calibrates)
    assert (code, out) == (2, "")
    assert "beneath-a-file cannot be written: " in err
    assert not (tmp_path / "home" / "eval").exists()


def test_a_bad_line_runs_nothing(footnote: Run, gold: Path, tmp_path: Path) -> None:
    gold.write_text(gold.read_text() + "{}\n")
    code, _, err = footnote(gold)
    assert code == 2
    assert "line 17" in err
    assert not (tmp_path / "home" / "eval").exists()


def test_a_baseline_of_other_questions(footnote: Run, gold: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    footnote(gold, "--limit", "2", "--write-baseline", baseline)
    other = json.loads(baseline.read_text())
    for question in other["questions"]:
        question["question"] += " Really?"
    baseline.write_text(json.dumps(other))
    code, _, err = footnote(gold, "--baseline", baseline)
    assert code == 2
    assert "the baseline asked none of these questions" in err
    # Before anything runs: the result of the run before it is still there.
    assert len((tmp_path / "home" / "eval" / "gold.jsonl").read_text().splitlines()) == 3
    for text in ("[]", "{", '{"configuration": 3, "questions": []}', '{"configuration": {}}'):
        baseline.write_text(text)
        code, _, err = footnote(gold, "--baseline", baseline)
        assert (code, "is no baseline: write one with --write-baseline" in err) == (2, True), text


@pytest.mark.parametrize(
    "damage",
    [
        {"scores": {"correct": float("nan")}},
        {"scores": {"correct": "1"}},
        {"scores": {"correct": None}},
        {"scores": [1]},
        {"confidence": "high"},
        {"id": 3},
        {"gold_answers": 3},
    ],
    ids=str,
)
def test_a_damaged_baseline_is_refused_before_anything_runs(
    footnote: Run, gold: Path, tmp_path: Path, damage: dict[str, Any]
) -> None:
    one = {
        "id": "a0",
        "question": "Who?",
        "kind": "fact",
        "answerable": True,
        "gold_answers": [],
        "scores": {"correct": 1.0},
        "confidence": None,
    }
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"configuration": {}, "questions": [one | damage]}))
    code, _, err = footnote(gold, "--baseline", baseline)
    assert code == 2
    assert "is no baseline" in err
    assert not (tmp_path / "home" / "eval").exists()


def test_a_question_too_long_is_named_before_anything_is_asked(
    footnote: Run, gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.loads(gold.read_text().splitlines()[0])
    line |= {"id": "long", "question": "why " * 500}
    gold.write_text(gold.read_text() + json.dumps(line) + "\n")
    code, _, err = footnote(gold)
    assert code == 2
    assert "1 of the questions cannot be asked: long: the question has" in err


# -- what is written ----------------------------------------------------------------------------


def test_a_baseline_tells_how_it_was_made(footnote: Run, gold: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "deep" / "baseline.json"
    footnote(gold, "--write-baseline", baseline)
    found = json.loads(baseline.read_text())
    assert found["configuration"]["models"] == {
        "embedder": "hash-256",
        "chat": {"name": "extractive", "digest": "extractive-1"},
    }
    assert found["configuration"]["settings"]["rag"]["support"] == 0.8
    assert set(found["configuration"]["program"]) == {"version", "commit"}
    assert found["metrics"]["correct"]["value"] == 1.0
    assert [question["id"] for question in found["questions"]][:2] == ["a0", "n0"]
    assert all("answer" not in question for question in found["questions"])
    # A line of its own for each question, so that a change of one shows as one.
    assert sum('"id": "' in line for line in baseline.read_text().splitlines()) == 16


def test_the_report(footnote: Run, gold: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert footnote(gold, "--report", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "How many sacks were sold daily by the Corvara mill?" in text
    assert "citation_exactness" in text


def test_claims(footnote: Run, tmp_path: Path) -> None:
    claims = tmp_path / "claims.jsonl"
    sentences = ["Millers of Corvara ground 63 sacks daily.", "Dunmore mill, as of 1911, went to Espinoza."]
    lines = [
        {
            "label": "supported",
            "claim": "Dunmore mill went to Espinoza in 1911.",
            "supporting_sentences": [[1]],
        },
        {
            "label": "not_supported",
            "claim": "Dunmore mill went to Espinoza in 1912.",
            "supporting_sentences": [],
        },
        {
            "label": "partially_supported",
            "claim": "Millers of Corvara ground 63 sacks daily, Lorenzo Cattaneo emigrated hungry.",
            "supporting_sentences": [[0]],
        },
    ]
    rows = [line | {"evidence": sentences, "meta": {"id": str(n)}} for n, line in enumerate(lines)]
    claims.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = footnote(claims, "--format", "wice", "--json")
    assert code == 0
    found = metrics(out)
    assert found["verdict_accuracy"] == found["verdict_macro_f1"] == 1.0
    assert found["verbatim_passed"] == found["figure_caught"] == found["name_caught"] == 1.0
    assert json.loads(out)["metrics"]["figure_caught"]["count"] == 2
    assert footnote(claims, "--format", "wice", "--fail-under", "verdict_macro_f1=0.99")[0] == 0


def test_calibrating_writes_a_gate_that_settings_can_name(
    footnote: Run, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.loads(line) for line in gold.read_text().splitlines()]
    again = [
        line | {"id": line["id"] + "b", "question": "Please tell: " + line["question"]} for line in lines
    ]
    gold.write_text("".join(json.dumps(line) + "\n" for line in lines + again))
    written = tmp_path / "fitted.json"
    code, out, err = footnote(gold, "--calibrate", "--write-gate", written)
    assert code == 0
    assert out.splitlines()[0] == "Gate, cross-validated"
    assert f"The gate is in {written}" in err
    found = json.loads(written.read_text())
    assert found["stages"]["quote"]["auc"] == 1.0
    assert found["fitted_on"][0]["questions"] == 32
    assert load_gate(str(written)).threshold.keys() == GATE["stages"].keys()
    monkeypatch.setenv("FOOTNOTE_RAG__GATE", str(written))
    _, out, err = footnote(gold, "--quote", "--json")
    assert metrics(out)["refusal_f1"] == 1.0
    assert "the gate was fitted to these very questions" in err
    gold.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "fitted" not in footnote(gold, "--quote")[2]


def test_calibrating_with_an_earlier_run(footnote: Run, gold: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    code, _, err = footnote(gold, "--calibrate", "--quote", "--output", first)
    assert code == 2
    assert "too few or too alike" in err
    twice = footnote(gold, "--calibrate", "--quote", "--output", second, "--also", first)
    assert twice[0] == 2
    assert "16 questions were asked in more than one of these runs" in twice[2]
    other = tmp_path / "other"
    other.mkdir()
    also = write_gold(other)
    also.write_text(also.read_text().replace('"question": "', '"question": "Please tell: '))
    code, _, _ = footnote(also, "--calibrate", "--quote", "--output", second, "--also", first)
    assert code == 0
    found = json.loads((tmp_path / "home" / "gate.json").read_text())
    assert found["stages"]["quote"]["questions"] == 32
    assert set(found["not_fitted"]) == {"before", "after", "verbatim"}
    assert found["stages"]["before"]["weights"] == GATE["stages"]["before"]["weights"]
    footnote(gold, "--quote", "--output", first)
    code, _, err = footnote(gold, "--calibrate", "--quote", "--output", second, "--also", first)
    assert code == 2
    assert "its gate was not open" in err
