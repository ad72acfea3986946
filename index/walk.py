"""From the paths that a person names to the files to read.

Ignore files work as in git: `.gitignore` and `.footnoteignore` of a folder hold for what is in it, a
deeper one overrules a higher one, the later line the earlier, and `.footnoteignore` counts as the later
of the two. The patterns given to `walk` overrule both. Ignore files above a named folder are not looked
for: who names a folder wants what is in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from index.errors import UnreadableDocument, UsageError
from index.readers import is_readable_kind

IGNORE_FILES = (".gitignore", ".footnoteignore")


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found. `files` are absolute, sorted, each once.

    `passed_over` counts files of other kinds, special files and links to nothing or to a folder;
    `ignored` the files and folders that an ignore pattern matches, a folder as one. Hidden files and
    folders are not counted. `unopened` are folders that may not be listed.
    """

    files: tuple[Path, ...]
    passed_over: int
    ignored: int
    unopened: tuple[Path, ...] = ()


@dataclass(slots=True)
class _Found:
    """The walk so far, as absolute paths: a path met twice counts once."""

    files: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    unopened: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns that hold in the folder `base`, and what holds above it."""

    base: str
    spec: GitIgnoreSpec
    above: _Rules | None


def walk(paths: Sequence[Path], ignore: Sequence[str] = ()) -> Walk:
    """The readable files at and below `paths`.

    A file named outright is always among them, whatever its kind and whatever is ignored: its reader
    says if it cannot be read. A folder named outright is walked, even a hidden one or a link. Below it,
    hidden entries, special files and links to folders are passed over. Raises UnreadableDocument for a
    path that does not exist and for a named folder or an ignore file that may not be read, UsageError
    for a pattern in `ignore` that cannot be understood.
    """
    given = _given_patterns(ignore)
    found = _Found()
    named: set[str] = set()
    for path in paths:
        top = os.path.abspath(path)
        try:
            is_folder = stat.S_ISDIR(os.stat(top).st_mode)
            if is_folder:
                os.scandir(top).close()
        except (OSError, ValueError) as error:
            raise UnreadableDocument(_refusal(top, error)) from error
        if is_folder:
            _walk_folder(top, given, found)
        else:
            named.add(top)
    return Walk(
        files=tuple(sorted(map(Path, found.files | named))),
        passed_over=len(found.passed_over - named),
        ignored=len(found.ignored - named - found.files),
        unopened=tuple(sorted(map(Path, found.unopened))),
    )


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or Word's mark that it has a document open."""
    return name.startswith((".", "~$"))


def _walk_folder(top: str, given: GitIgnoreSpec, found: _Found) -> None:
    pending: list[tuple[str, _Rules | None]] = [(top, None)]
    while pending:
        folder, above = pending.pop()
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not is_passed_over(entry.name)]
        except OSError:
            found.unopened.add(folder)
            continue
        rules = _read_rules(folder, above)
        for entry in visible:
            is_folder = entry.is_dir(follow_symlinks=False)
            if _is_ignored(entry.path, is_folder, top, given, rules):
                found.ignored.add(entry.path)
            elif is_folder:
                pending.append((entry.path, rules))
            elif _is_regular(entry) and is_readable_kind(Path(entry.name)):
                found.files.add(entry.path)
            else:
                found.passed_over.add(entry.path)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one; a link that leads round in a circle is neither."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_ignored(path: str, is_folder: bool, top: str, given: GitIgnoreSpec, rules: _Rules | None) -> bool:
    """The verdict of the first rules that have one, from the patterns given to the outermost folder."""
    for base, spec in [(top, given), *_upwards(rules)]:
        relative = os.path.relpath(path, base).replace(os.sep, "/")
        verdict = spec.check_file(relative + "/" if is_folder else relative).include
        if verdict is not None:
            return verdict
    return False


def _upwards(rules: _Rules | None) -> Iterator[tuple[str, GitIgnoreSpec]]:
    while rules is not None:
        yield rules.base, rules.spec
        rules = rules.above


def _read_rules(folder: str, above: _Rules | None) -> _Rules | None:
    """The rules in a folder; those above it when it has no ignore file of its own."""
    lines: list[str] = []
    for name in IGNORE_FILES:
        path = os.path.join(folder, name)
        try:
            if os.path.isfile(path):
                # File names are bytes, so patterns are read the way Python reads file names.
                lines += os.fsdecode(Path(path).read_bytes()).removeprefix("\ufeff").splitlines()
        except OSError as error:
            raise UnreadableDocument(_refusal(path, error)) from error
    if not lines:
        return above
    # A line that is no pattern matches nothing, as in git.
    return _Rules(folder, GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line)), above)


def _given_patterns(ignore: Sequence[str]) -> GitIgnoreSpec:
    for pattern in ignore:
        if not _is_pattern(pattern):
            raise UsageError(
                f"The ignore pattern {pattern!r} is not valid: write it as in a .gitignore file."
            )
    return GitIgnoreSpec.from_lines(ignore)


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _refusal(path: str, error: Exception) -> str:
    shown = path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
    if isinstance(error, FileNotFoundError):
        return f"{shown} does not exist: check the path."
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{shown} cannot be read: {reason}."
