"""Settings of serving, and of the whole program with them. Read by `server.__main__` only."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rag.config import Settings


def _origin(given: str) -> str:
    """As browsers send it."""
    origin = given.rstrip("/").lower()
    if not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
        raise ValueError(f"{given} is no origin: write it as https://notes.example")
    return origin


def _host_name(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", given) or given.count(":") == 1:
        raise ValueError(f"{given} is no name of a machine: write it without scheme, port and path")
    return given.lower()


Origin = Annotated[str, AfterValidator(_origin)]
HostName = Annotated[str, AfterValidator(_host_name)]


class ServerSettings(BaseModel):
    """How the pipeline is offered over HTTP. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen at; another than loopback needs a key"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen at; 0 takes a free one")
    api_key_file: str = Field("", description="file with the key that clients send; or FOOTNOTE_API_KEY")
    hosts: tuple[HostName, ...] = Field(
        (), description="names under which clients reach it, beside loopback and addresses"
    )
    origins: tuple[Origin, ...] = Field((), description="sites whose pages may use it from a browser (CORS)")
    public_url: str = Field(
        "", pattern=r"^(https?://[^\s?#]+)?$", description="its address as people see it, for links"
    )
    queue: int = Field(8, ge=0, le=1000, description="questions that wait for the model; more get 429")
    queue_wait_s: float = Field(120.0, gt=0, le=3600, description="longest wait for the model, in seconds")
    grace_s: float = Field(
        10.0, ge=0, le=600, description="how long answers may take to end when it is stopped, in seconds"
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="how long it serves on after SIGTERM, no longer ready, so that a balancer sees it",
    )
    slow_reader_s: float = Field(
        20.0, gt=0, le=600, description="a client that takes nothing for so long is cut off, in seconds"
    )
    body_bytes: int = Field(1024**2, ge=1024, le=64 * 1024**2, description="largest JSON body")
    upload_bytes: int = Field(256 * 1024**2, ge=1024, description="largest upload, all files together")
    upload_files: int = Field(1000, ge=1, le=10_000, description="most files in one upload")
    parse_s: float = Field(20.0, gt=0, le=600, description="longest that reading a file may take, in seconds")
    log_questions: bool = Field(False, description="write questions into the log")

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


class ServeSettings(Settings):
    """Everything a person can set, for who serves."""

    server: ServerSettings = ServerSettings()

    @property
    def evaluations_folder(self) -> Path:
        """Where `footnote eval` keeps runs and reports."""
        return self.home / "eval"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it: by name or by address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
