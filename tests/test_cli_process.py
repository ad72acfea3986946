"""`footnote` as a process of its own: pipes that close, signals, and a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_home import NOTES, REPOSITORY, environment, start

ANSWER = "Clara Zetterlund designed the bridge [1].\n"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bridge.txt").write_text(NOTES)
    return folder


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, notes: Path) -> None:
    with start(tmp_path / "home", "index", str(notes)) as indexing:
        indexing.communicate()
    with start(tmp_path / "home", "ask", "--json", "-") as asking:
        assert asking.stdout is not None
        asking.stdout.close()
        asking.stdout = None
        _, err = asking.communicate(b"Who designed the bridge?")
    assert (asking.returncode, err) == (141, b"")


def test_ctrl_c_at_the_prompt_exits_with_130(tmp_path: Path, notes: Path) -> None:
    with start(tmp_path / "home", "index", str(notes)) as indexing:
        indexing.communicate()
    with start(tmp_path / "home", "chat") as chatting:
        assert chatting.stdin is not None
        assert chatting.stdout is not None
        chatting.stdin.write(b"Who designed the bridge?\n")
        chatting.stdin.flush()
        # It waits for the next question once the answer is there.
        assert chatting.stdout.readline().decode() == ANSWER
        while chatting.stdout.readline() != "    “Clara Zetterlund designed the bridge.”\n".encode():
            pass
        assert chatting.stdout.readline() == b"\n"
        chatting.send_signal(signal.SIGINT)
        _, err = chatting.communicate()
    assert (err, chatting.returncode) == (b"", 130)


def test_ctrl_c_ends_following_with_130_and_keeps_what_was_indexed(tmp_path: Path, notes: Path) -> None:
    with start(tmp_path / "home", "index", "--watch", str(notes)) as following:
        assert following.stdout is not None
        assert following.stdout.readline().startswith(b"1 added, 0 updated")
        (notes / "more.txt").write_text("Another one.\n")
        assert following.stdout.readline() == f"added {notes / 'more.txt'}\n".encode()
        (notes / "more.txt").rename(notes / "moved.txt")
        assert (
            following.stdout.readline().decode() == f"renamed {notes / 'more.txt'} → {notes / 'moved.txt'}\n"
        )
        following.send_signal(signal.SIGINT)
        out, err = following.communicate()
    assert (out, following.returncode) == (b"", 130)
    assert err.decode() == f"Following {notes}. Ctrl-C ends it.\nStopped. What was indexed stays.\n"
    with start(tmp_path / "home", "collection", "list") as listing:
        out, _ = listing.communicate()
    assert out.endswith(b"2 documents, 2 passages\n")


def test_no_output_is_no_traceback(tmp_path: Path, notes: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rag", "models", "list"],
            cwd=REPOSITORY,
            env={**os.environ, **environment(tmp_path / "home")},
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"footnote: unexpected OSError: ")
