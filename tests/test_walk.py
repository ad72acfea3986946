"""Walking folders: which files are read, which are passed over, which ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from index.errors import UnreadableDocument, UsageError
from index.walk import Walk, walk


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def found(result: Walk, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in result.files]


def test_folders_are_walked_and_other_kinds_counted(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a.MD", "sub/deep/c.pdf", "sub/d.html", "gold.jsonl", "sub/e.png", "noend")
    result = walk([tmp_path], [])
    assert found(result, tmp_path) == ["a.MD", "b.txt", "sub/d.html", "sub/deep/c.pdf"]
    assert (result.passed_over, result.ignored, result.unopened) == (3, 0, ())


def test_files_are_absolute_sorted_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "sub/b.txt", "sub/a.txt", "sub/x.jsonl", "c.txt")
    monkeypatch.chdir(tmp_path)
    result = walk([Path("c.txt"), Path("sub"), Path("."), Path("sub/../sub/a.txt")], [])
    assert result.files == (tmp_path / "c.txt", tmp_path / "sub/a.txt", tmp_path / "sub/b.txt")
    assert result.passed_over == 1


def test_hidden_special_and_linked_entries_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", ".hidden.txt", ".git/x.txt", "sub/b.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "dangling.txt").symlink_to("nowhere.txt")
    (tmp_path / "linked").symlink_to("sub", target_is_directory=True)
    (tmp_path / "sub/up").symlink_to("..", target_is_directory=True)
    (tmp_path / "link.txt").symlink_to("sub/b.txt")
    result = walk([tmp_path], [])
    assert found(result, tmp_path) == ["a.txt", "link.txt", "sub/b.txt"]
    assert (result.passed_over, result.ignored) == (5, 0)


def test_ignore_files_nest_as_in_git(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.txt",
        "b.md",
        "build/x.txt",
        "sub/a.txt",
        "sub/keep.md",
        "sub/other.md",
        "sub/build/y.txt",
    )
    make(tmp_path, "only/top.txt", "deep/only/top.txt")
    (tmp_path / ".gitignore").write_text("# remark\n*.md\nbuild/\n/only\n")
    (tmp_path / "sub/.gitignore").write_text("!keep.md\n!build/\n")
    result = walk([tmp_path], [])
    assert found(result, tmp_path) == [
        "a.txt",
        "deep/only/top.txt",
        "sub/a.txt",
        "sub/build/y.txt",
        "sub/keep.md",
    ]
    assert result.ignored == 4  # b.md, build, only, sub/other.md


def test_footnoteignore_overrules_gitignore_and_given_patterns_overrule_both(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt", "c.txt", "sub/d.txt")
    (tmp_path / ".gitignore").write_text("a.txt\nb.txt\n")
    (tmp_path / ".footnoteignore").write_bytes(b"\xef\xbb\xbf!a.txt\r\nc.txt\r\n")
    assert found(walk([tmp_path], []), tmp_path) == ["a.txt", "sub/d.txt"]
    result = walk([tmp_path], ["!c.txt", "sub/"])
    assert found(result, tmp_path) == ["a.txt", "c.txt"]
    assert result.ignored == 2


def test_nothing_below_an_ignored_folder_comes_back(tmp_path: Path) -> None:
    make(tmp_path, "build/keep.txt", "a.txt")
    (tmp_path / ".gitignore").write_text("build\n!build/keep.txt\n")
    assert found(walk([tmp_path], []), tmp_path) == ["a.txt"]


def test_what_is_named_outright_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "data.jsonl", ".notes/n.txt", "real/r.txt")
    (tmp_path / ".gitignore").write_text("*.txt\n")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    result = walk([tmp_path, tmp_path / "a.txt", tmp_path / "data.jsonl"], ["a.txt"])
    assert found(result, tmp_path) == ["a.txt", "data.jsonl"]
    assert (result.passed_over, result.ignored) == (1, 1)  # the link, real/r.txt
    assert found(walk([tmp_path / ".notes", tmp_path / "link"], []), tmp_path) == [
        ".notes/n.txt",
        "link/r.txt",
    ]


@pytest.mark.parametrize("name", ["missing", "missing.txt", "dangling"])
def test_a_path_that_does_not_exist_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UnreadableDocument) as caught:
        walk([tmp_path / name], [])
    assert str(caught.value) == f"{tmp_path / name} does not exist: check the path."


def test_bad_patterns(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")
    with pytest.raises(UsageError, match=r"^The ignore pattern '!' is not valid"):
        walk([tmp_path], ["a.txt", "!"])
    (tmp_path / ".gitignore").write_text("!\na.txt\n")
    assert found(walk([tmp_path], []), tmp_path) == ["b.txt"]


def test_folders_that_may_not_be_listed_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt", "closed/b.txt")
    listing = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    # The superuser, as whom containers run tests, may list everything.
    monkeypatch.setattr(os, "scandir", refuse)
    result = walk([tmp_path], [])
    assert found(result, tmp_path) == ["a.txt"]
    assert result.unopened == (tmp_path / "closed",)
    with pytest.raises(UnreadableDocument, match=r"closed cannot be read: Permission denied\.$"):
        walk([tmp_path / "closed"], [])


def test_an_ignore_file_that_cannot_be_read_is_no_reason_to_read_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.txt", ".gitignore")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadableDocument, match=r"\.gitignore cannot be read: Permission denied\.$"):
        walk([tmp_path], [])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    make(tmp_path, name, "a.txt")
    assert walk([tmp_path], []).files == (tmp_path / "a.txt", tmp_path / name)
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9.txt\n")
    assert found(walk([tmp_path], []), tmp_path) == ["a.txt"]
