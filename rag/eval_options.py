"""The options of `footnote eval`. Light: the command line imports this for its help."""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("footnote", "squad", "clapnq", "chunking", "wice")

MODEL_HELP = (
    "Chat model: see models list, hf:OWNER/REPO/FILE, a GGUF file; or endpoints elsewhere, "
    "http://HOST:PORT/v1#NAME with commas between: questions and text of your documents are sent there."
)

_FILE = click.Path(path_type=Path, dir_okay=False)

OPTIONS = (
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        default="footnote",
        show_default=True,
        help="What GOLD holds; wice holds claims for the verifier.",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Ask the first N questions only."),
    click.option("--sample", type=int, metavar="SEED", help="Draw the N of --limit by chance instead."),
    click.option("--retrieval-only", is_flag=True, help="Score what is found; answer nothing."),
    click.option("-q", "--quote", "--no-model", is_flag=True, help="Answer with quotations; no model runs."),
    click.option(
        "--read/--no-read",
        "read",
        default=None,
        help="Read every section before it is asked about, or none.  [default: where three questions or "
        "more are asked of it]",
    ),
    click.option(
        "-m",
        "--model",
        metavar="NAME|FILE|URL",
        help=MODEL_HELP,
    ),
    click.option(
        "-o",
        "--output",
        type=_FILE,
        metavar="FILE.jsonl",
        help="Where each question is kept as it is answered.  [default: under HOME/eval]",
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in that file."),
    click.option(
        "--baseline", type=_FILE, metavar="FILE", help="Compare with these scores, question by question."
    ),
    click.option(
        "--write-baseline", "new_baseline", type=_FILE, metavar="FILE", help="Write scores to compare with."
    ),
    click.option(
        "--fail-under",
        "limits",
        multiple=True,
        metavar="METRIC=VALUE",
        help="Exit with 1 if the metric is under it (over it, where lower is better).",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON object."),
    click.option(
        "--report", type=_FILE, metavar="FILE.html", help="Write a page with plots and every question."
    ),
    click.option(
        "--calibrate", "calibrates", is_flag=True, help="Fit the gate that refuses, instead of evaluating."
    ),
    click.option(
        "--write-gate",
        "new_gate",
        type=_FILE,
        metavar="FILE",
        help="Where to write it.  [default: HOME/gate.json]",
    ),
    click.option(
        "--also",
        type=_FILE,
        multiple=True,
        metavar="FILE.jsonl",
        help="Fit it to this earlier run of --calibrate too.",
    ),
)
