"""How quick Footnote is on this machine, against its bars, against bare llama.cpp and against its peers.

    python -m tests.bench.speed
    python -m tests.bench.speed --against llama_index,haystack,txtai --peer-python PEERS/bin/python

Prints the table of bars and writes it as JSON and as a picture. Everything is of one run: what is compared is
measured turn by turn, and the figures are medians. The questions are answerable ones of the seed gold set,
with the sections they read already read. Peers run from a Python of their own (see peers/), with the same
GGUF file, embedder, threads and questions; one that cannot be run is named, and its rows have not passed.
Needs the models, for a row also xllamacpp, and a machine that has nothing else to do. The exit code is 1
where a row that was asked for has not passed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from rag.config import Settings
from rag.gold import load_gold
from rag.runs import program
from rag.session import open_store
from rag.worker_process import given_cores

from .bars import KEYS, row_object, table
from .bench import Bench
from .machine import busy, limits
from .picture import picture
from .run import PEERS, SEEDS, Run, say


def main() -> int:
    options = _options()
    settings = Settings(offline=True)
    store = open_store(settings)
    threads = settings.rag.threads or given_cores()
    gold = load_gold(SEEDS / "gold.jsonl")
    answerable = [one for one in gold.questions if one.answerable and not one.history]
    step = max(len(answerable) // options.questions, 1)
    load = os.getloadavg()
    say("limits of the machine")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            options=options,
            model=store.locate(options.model, "chat").resolve(),
            embedder=store.locate(settings.index.embedder, "embedder").resolve(),
            threads=threads,
            questions=answerable[::step][: options.questions],
            document_id=gold.documents[0].id,
            folder=Path(folder),
            limits=limits(threads),
            found={"disturbed_before": busy()},
        )
        rows = Bench(run).measure()
        run.found["disturbed_after"] = busy()
    said = program()
    made = {
        "program": said,
        "machine": {"processor": _processor(), "cores": given_cores(), "system": platform.platform()},
        "limits": {"read_gb_s": run.limits.read_gb_s, "gflop_s": run.limits.gflop_s},
        "load": {"before": load, "after": os.getloadavg()},
        "model": run.model.name,
        "rows": [row_object(row) for row in rows],
        "found": run.found,
    }
    print(table(rows))
    print(f"load of the machine: {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after")
    if options.output:
        stem = Path(options.output)
        stem.with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        title = f"Footnote {said['version']} on {_processor()}, {given_cores()} cores"
        stem.with_suffix(".svg").write_text(picture(rows, title), encoding="utf-8")
    return 0 if all(row.verdict == "passed" for row in rows if row.bar.key in options.rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.speed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--questions", type=int, default=9, help="how many; the bars ask for seven at least")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b", help="as footnote ask takes it")
    parser.add_argument("--rows", default=",".join(KEYS), help=f"of {', '.join(KEYS)}")
    parser.add_argument("--against", default="", help=f"peers: {', '.join(PEERS)}")
    parser.add_argument("--peer-python", default="", help="the Python that has them; or NAME=PYTHON,…")
    parser.add_argument("--passages", type=int, default=100_000, help="for sources_large; made in minutes")
    parser.add_argument("-o", "--output", default="speed", help="where .json and .svg go; empty for nowhere")
    options = parser.parse_args()
    options.rows = options.rows.split(",")
    options.against = [name for name in options.against.split(",") if name]
    for name in options.rows:
        if name not in KEYS:
            parser.error(f"there is no row {name}")
    for name in options.against:
        if name not in PEERS:
            parser.error(f"there is no peer {name}")
    return options


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
