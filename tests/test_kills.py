"""A small run of tests/bench/kills.py; the long one is run by hand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parent / "bench" / "kills.py"


@pytest.mark.skipif(os.name != "posix", reason="forks, and kills what it forked")
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(KILLS), "8"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"8 kills, .*'acknowledged': [1-9]\d*.*: nothing lost", done.stdout)
