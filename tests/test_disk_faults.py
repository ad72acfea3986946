"""A small run of tests/bench/disk_faults.py; the long one is run by hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent / "bench" / "disk_faults.py"


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="puts a library before libc"
)
def test_a_call_that_fails_acknowledges_nothing_and_the_state_of_before_opens(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FAULTS), "--every", "23"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ calls, .*'told': [1-9]\d*.*: nothing lost", done.stdout)
