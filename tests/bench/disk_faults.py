"""A disk that is full, or breaks, at every single write, sync, truncation, rename and close of a collection.

    python tests/bench/disk_faults.py            # each call once, then each call and all after it
    python tests/bench/disk_faults.py --every 7  # a seventh of them
    python tests/bench/disk_faults.py --full     # also a real file system of 2 MB that fills up (as root)

A collection is changed in a fixed way: a document added, one updated, one removed, the vectors saved. A small
library, compiled here and put before libc's, lets the Nth of the calls that concern its folder fail. Whatever
was said to be done has to be there then, the step that failed wholly or not at all, `check` has to be clean
once the vectors are made again, and the error has to be one of this program's. The exit code is 1 otherwise.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from animals import SETTINGS, document, put
from kills import in_child

from index.check import check
from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.errors import FootnoteError

LIBRARY = "FOOTNOTE_BENCH_FAULTS"
"""In the environment: the library, and that it has been put before libc."""

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char prefix[4096];
static long calls, failing;
static int fault, from_then_on;

void faults_arm(const char *folder, long nth, int number, int onward) {
    strncpy(prefix, folder, sizeof prefix - 1);
    calls = 0; failing = nth; fault = number; from_then_on = onward;
}

long faults_counted(void) { return calls; }

static int fails(const char *path) {
    if (!*prefix || strncmp(path, prefix, strlen(prefix))) return 0;
    calls++;
    return failing && (calls == failing || (from_then_on && calls > failing));
}

static int fd_fails(int fd) {
    char link[64], path[4096];
    int kept = errno;
    if (!*prefix) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define FAIL do { errno = fault; return -1; } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    if (fd_fails(fd)) FAIL;
    return REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (fd_fails(fd)) FAIL;
    return REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (fd_fails(fd)) FAIL;
    return REAL(pwrite64)(fd, data, size, at);
}
int fsync(int fd) { if (fd_fails(fd)) FAIL; return REAL(fsync)(fd); }
int fdatasync(int fd) { if (fd_fails(fd)) FAIL; return REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { if (fd_fails(fd)) FAIL; return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { if (fd_fails(fd)) FAIL; return REAL(ftruncate64)(fd, size); }
int rename(const char *from, const char *to) { if (fails(to)) FAIL; return REAL(rename)(from, to); }
int close(int fd) {
    int broken = fd_fails(fd), done = REAL(close)(fd);
    if (broken) { errno = EIO; return -1; }
    return done;
}
"""

Library = ctypes.CDLL
State = dict[str, str]

STEPS: tuple[tuple[str, str, str], ...] = (
    ("put", "new", "Zebras have stripes, and live in herds."),
    ("put", "cats", "Cats sleep for most of the day."),
    ("remove", "dogs", ""),
    ("save", "", ""),
)
BEFORE: State = {"cats": "Cats purr when they are content.", "dogs": "Dogs bark at strangers at night."}


def states() -> list[State]:
    """What is there before the first step, and after each."""
    found = [dict(BEFORE)]
    for step, uri, text in STEPS:
        after = {**found[-1], uri: text} if step == "put" else dict(found[-1])
        if step == "remove":
            del after[uri]
        found.append(after)
    return found


def opened(folder: Path) -> LocalCollection:
    return LocalCollection.create_or_open(folder, HashEmbedder(32), SETTINGS)


def change(folder: Path, say: Callable[[str], None]) -> None:
    with opened(folder) as collection:
        for step, uri, text in STEPS:
            if step == "put":
                put(collection, uri, text)
            elif step == "remove":
                collection.remove(uri)
            else:
                collection.snapshot()
            say("done")


def attempt(library: Library, folder: Path, nth: int, number: int, onward: bool) -> tuple[list[str], int]:
    """(what a child said, its exit status) while the `nth` call of its own fails."""

    def act(said: object) -> None:
        def say(line: str) -> None:
            print(line, file=said, flush=True)  # type: ignore[call-overload]

        library.faults_arm(str(folder).encode(), nth, number, int(onward))
        try:
            change(folder, say)
        except FootnoteError as error:
            say(f"error {type(error).__name__}")
        except Exception as error:
            say(f"foreign {type(error).__name__}: {error}")
        finally:
            counted = library.faults_counted()
            library.faults_arm(b"", 0, 0, 0)
        say(f"calls {counted}")

    process, said = in_child(act)
    with said:
        heard = [line.rstrip("\n") for line in said]
    return heard, os.waitpid(process, 0)[1]


def verify(folder: Path, allowed: list[State]) -> int:
    """Which of `allowed` it is. Raises AssertionError for none of them, or an unsound one."""
    with opened(folder) as collection:
        texts = {info.id: collection.document(info.id).text for info in collection.documents()}
        held = {stored.source.uri: texts[stored.document_id] for stored in collection.sources()}
        assert held in allowed, f"holds {held}, not one of {allowed}"
        assert set(texts) == {document(text).id for text in held.values()}
        for text in held.values():
            assert collection.search(text, 9)[0].text == text
        collection.snapshot()
    assert check(folder) == [], check(folder)
    return allowed.index(held)


def sweep(library: Library, place: Path, every: int) -> collections.Counter[str]:
    """Let each call fail. Raises SystemExit when something is wrong."""
    base = place / "base"
    with opened(base) as collection:
        for uri, text in BEFORE.items():
            put(collection, uri, text)
        collection.snapshot()
    counted: collections.Counter[str] = collections.Counter()
    folder = place / "c"

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)

    fresh()
    heard, _ = attempt(library, folder, 0, 0, False)
    calls = int(heard[-1].split()[1])
    assert heard[:-1] == ["done"] * len(STEPS), heard
    assert calls > 20, f"{calls} calls: the library is not before libc"
    for onward in (False, True):
        for number in (errno.ENOSPC, errno.EIO):
            for nth in range(1, calls + 1, every):
                fresh()
                heard, status = attempt(library, folder, nth, number, onward)
                done = heard.count("done")
                allowed = states()[done : done + 2]
                wrong = status or any(line.startswith("foreign") for line in heard)
                try:
                    which = verify(folder, allowed)
                except Exception as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
                    wrong = True
                if wrong:
                    print(
                        f"call {nth}{' and all after' if onward else ''}, {errno.errorcode[number]}: "
                        f"status {status}, {heard}; {folder} is kept",
                        file=sys.stderr,
                    )
                    raise SystemExit(1)
                counted["failures"] += 1
                failed = any(line.startswith("error") for line in heard)
                counted["told" if failed else "borne"] += 1
                counted["whole, though told as failed"] += failed and which == 1
    counted["calls"] = calls
    return counted


def fill(place: Path) -> int:
    """Add documents to a file system of 2 MB until none fits: how many did. Raises AssertionError."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "footnote", str(place)], check=True)
    try:
        held: State = {}
        with opened(place / "c") as collection:
            for number in range(10_000):
                text = f"Only word{number} stands here. " * 40
                try:
                    put(collection, f"u{number}", text.strip())
                except FootnoteError as error:
                    print(f"  full after {number}: {error}")
                    break
                held[f"u{number}"] = text.strip()
        # Nothing can be written now, not even a lock, and all of it can be read.
        with LocalCollection.open(place / "c", HashEmbedder(32)) as collection:
            texts = {info.id: collection.document(info.id).text for info in collection.documents()}
            assert {s.source.uri: texts[s.document_id] for s in collection.sources()} == held
            assert f"word{len(held) - 1}" in collection.search(f"word{len(held) - 1}", 3)[0].text
        return len(held)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--every", type=int, default=1)
    options.add_argument("--full", action="store_true")
    asked = options.parse_args()
    if LIBRARY not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        (folder / "faults.c").write_text(SOURCE)
        made = folder / "faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, folder / "faults.c", "-ldl"], check=True)
        os.environ |= {LIBRARY: str(made), "LD_PRELOAD": str(made)}
        os.execv(sys.executable, [sys.executable, *sys.argv])
    place = Path(tempfile.mkdtemp(prefix="faulty-"))
    counts = sweep(ctypes.CDLL(os.environ[LIBRARY]), place, asked.every)
    print(f"{counts.pop('calls')} calls, {dict(counts)}: nothing lost")
    if asked.full:
        print(f"a full file system: {fill(place / 'small')} documents acknowledged, all there")
    shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
