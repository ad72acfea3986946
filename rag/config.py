"""Settings of answering, and of the whole program. Read by `rag.cli` and `server.__main__` only.

From the strongest to the weakest: flags, `FOOTNOTE_*` variables (`FOOTNOTE_RAG__MODEL=…` for a
nested one), the TOML file, the defaults here. An empty variable counts as not set.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from index.addresses import joined
from index.config import IndexSettings
from index.engines.address import Address, address_of, is_address
from index.errors import UsageError


class RagSettings(BaseModel):
    """How a question becomes an answer. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "qwen2.5-coder-1.5b",
        min_length=1,
        description="catalogue name, hf:OWNER/REPO/FILE, GGUF path, or endpoints: http://HOST:PORT/v1#NAME; "
        "`extractive` is a fake for trials",
    )
    model_key_file: str = Field("", description="file with the key of the endpoints")
    model_key: SecretStr = Field(SecretStr(""), description="the key itself; meant for a variable")
    model_silence_s: float = Field(
        60.0, gt=0, le=3600, description="longest that an endpoint may say nothing, in seconds"
    )
    model_total_s: float = Field(
        300.0, gt=0, le=86400, description="longest that endpoints may take for one draft, in seconds"
    )
    context_tokens: int = Field(4096, ge=512, le=131072, description="context of the chat model, in tokens")
    threads: int = Field(0, ge=0, description="threads of the chat model; 0 means every core given to us")
    passages: int = Field(6, ge=1, le=100, description="passages whose sentences are ranked")
    evidence: int = Field(
        8, ge=1, le=50, description="sentences shown as sources, and sent when nothing is read"
    )
    evidence_tokens: int = Field(250, ge=32, le=8192, description="most tokens of evidence sent at once")
    section_tokens: int = Field(1500, ge=64, le=65536, description="longest section that is read at once")
    answer_tokens: int = Field(96, ge=8, le=2048, description="longest draft, in tokens of the chat model")
    question_tokens: int = Field(400, ge=16, le=4096, description="longest question, in embedder tokens")
    support: float = Field(
        0.8, ge=0, le=1, description="share of a sentence's content words its citation must hold"
    )
    temperature: float = Field(0.0, ge=0, le=2, description="of the chat model; 0 always takes the likeliest")
    seed: int = Field(0, ge=0, description="of the chat model, where its temperature is not 0")
    gate: str = Field("", description="file with a fitted gate; the shipped one by default")
    read_ahead: bool = Field(
        True, description="read the section of a question in the background, for the next"
    )
    readings_bytes: int = Field(2 * 1024**3, ge=0, description="most bytes of saved readings per collection")

    @field_validator("model", mode="before")
    @classmethod
    def _several(cls, model: object) -> object:
        return joined(model)


class Settings(BaseSettings):
    """Everything a person can set. `home` holds collections and models."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="FOOTNOTE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    home: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("footnote", appauthor=False),
        description="folder of collections and models",
    )
    collection: str = Field(
        "default", description="a name under HOME/collections, a folder, or the URL of a database"
    )
    offline: bool = Field(False, description="never try the network")
    index: IndexSettings = IndexSettings()
    rag: RagSettings = RagSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        found = _toml()
        if "server" not in settings_cls.model_fields:
            found.pop("server", None)  # of the same file, and for `footnote serve` alone
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=found)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().absolute()
        except RuntimeError as error:  # "~someone" who is not there
            raise ValueError(str(error)) from error

    @field_validator("collection")
    @classmethod
    def _names_a_folder(cls, collection: str) -> str:
        if not collection.strip() or "\0" in collection:
            raise ValueError("give a name or a folder")
        if is_address(collection):
            address_of(collection)
        elif "://" in collection:  # not repeated: there may be a password in it
            raise ValueError("the URL of a database begins with postgresql://; else give a name or a folder")
        return collection

    @property
    def address(self) -> Address | None:
        """Where the collection is, when it is in a database."""
        return address_of(self.collection) if is_address(self.collection) else None

    @property
    def collection_shown(self) -> str:
        """As it was named, without what is secret in it."""
        return str(self.address or self.collection)

    @property
    def collection_folder(self) -> Path:
        """A name is kept under `home`; anything with a separator is a folder of the user's own.

        Of a collection in a database it is where this machine keeps what it made for it.
        """
        if self.address is not None:
            return self.home / "databases" / self.address.digest
        if os.sep in self.collection or self.collection in {".", "..", "~"}:
            return Path(self.collection).expanduser().absolute()
        return self.home / "collections" / self.collection

    @property
    def uploads_folder(self) -> Path:
        """Where the bytes of uploaded files are kept: for each collection its own.

        Two folders elsewhere may have one name, so theirs has a digest of the whole path behind it.
        """
        folder = self.collection_folder
        if folder.parent == self.home / "collections":
            return self.home / "uploads" / folder.name
        digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        return self.home / "uploads" / f"{folder.name}@{digest}"

    @property
    def models_folder(self) -> Path:
        return self.home / "models"


SettingsKind = TypeVar("SettingsKind", bound=Settings)


def config_file() -> Path:
    """`FOOTNOTE_CONFIG`, else footnote.toml in the user's configuration folder."""
    named = os.environ.get("FOOTNOTE_CONFIG")
    return (
        Path(named).expanduser()
        if named
        else platformdirs.user_config_path("footnote", appauthor=False) / "footnote.toml"
    )


def _toml() -> dict[str, Any]:
    path = config_file()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get("FOOTNOTE_CONFIG"):
            raise UsageError(f"FOOTNOTE_CONFIG names {path}, which is not there; correct it") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the settings file {path} cannot be read: {error}") from error
    for section in ("index", "rag", "server"):
        # Merged key by key with the other sources, so it has to be a table before anything is validated.
        if not isinstance(found.get(section, {}), dict):
            raise UsageError(f"in the settings file {path}, {section} is no table; write [{section}]")
    return found


def load_settings(**flags: Any) -> Settings:
    """Settings with the flags that were given (None means not given; `rag__model` sets `rag.model`).

    Raises UsageError, which names the setting and the places where it can stand.
    """
    return load(Settings, **flags)


def load(kind: type[SettingsKind], /, **flags: Any) -> SettingsKind:
    """As `load_settings`, for settings that hold more than these.

    Raises UsageError, which names the setting and the places where it can stand.
    """
    given: dict[str, Any] = {}
    for key, value in flags.items():
        if value is None:
            continue
        section, _, name = key.partition("__")
        if name:
            given.setdefault(section, {})[name] = value
        else:
            given[section] = value
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"]]
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "there is no such setting"
        raise UsageError(
            f"the setting {'.'.join(names)} is not usable: {reason}; see the flags, the variable "
            f"FOOTNOTE_{'__'.join(names).upper()}, and {config_file()}"
        ) from error
    except SettingsError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UsageError(f"a FOOTNOTE_ variable cannot be understood: {error}: {reason}") from error
