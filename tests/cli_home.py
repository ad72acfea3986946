"""A home with no models, and settings that need none: the command line over the fakes that ship."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent

NOTES = """\
The bridge at Brenz was opened in 1911. It is made of riveted steel.

Clara Zetterlund designed the bridge. She had studied in Uppsala.
"""

# Asks only whether the question's words stand in the documents: exact, and independent of any fitting.
GATE = {
    "stages": {
        stage: {"intercept": 0.0, "threshold": 0.5, "weights": {"unknown": -9.0, "coverage": 1.0}}
        for stage in ("quote", "before", "after", "verbatim")
    }
}


def environment(home: Path) -> dict[str, str]:
    """The variables of a run in `home`, in which the gate is written."""
    home.mkdir(parents=True, exist_ok=True)
    gate = home / "gate.json"
    gate.write_text(json.dumps(GATE))
    return {
        "FOOTNOTE_HOME": str(home),
        "FOOTNOTE_CONFIG": "",
        "FOOTNOTE_INDEX__EMBEDDER": "hash",
        "FOOTNOTE_RAG__MODEL": "extractive",
        "FOOTNOTE_RAG__GATE": str(gate),
        "FOOTNOTE_OFFLINE": "1",
        "XDG_CONFIG_HOME": str(home / "config"),
    }


def start(home: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`footnote` as a process of its own, its three streams as pipes."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FOOTNOTE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "rag", *arguments],
        cwd=REPOSITORY,
        env={**inherited, **environment(home), **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
