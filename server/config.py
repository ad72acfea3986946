"""Settings of serving, and of the whole program with them. Read by `server.__main__` only."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rag.config import Settings


class ServerSettings(BaseModel):
    """How the pipeline is offered over HTTP. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen at; another than loopback needs a key"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen at; 0 takes a free one")
    api_key_file: str = Field("", description="file with the key that clients send; or FOOTNOTE_API_KEY")
    hosts: tuple[str, ...] = Field(
        (), description="names under which clients reach it, beside loopback and addresses"
    )
    origins: tuple[str, ...] = Field((), description="sites whose pages may use it from a browser (CORS)")
    public_url: str = Field(
        "", pattern=r"^(https?://[^\s?#]+)?$", description="its address as people see it, for links"
    )
    queue: int = Field(8, ge=0, le=1000, description="questions that wait for the model; more get 429")
    queue_wait_s: float = Field(120.0, gt=0, le=3600, description="longest wait for the model, in seconds")
    grace_s: float = Field(
        10.0, ge=0, le=600, description="how long answers may take to end when it is stopped, in seconds"
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
    def uploads_folder(self) -> Path:
        """Where the bytes of uploaded files are kept."""
        return self.home / "uploads" / self.collection_folder.name

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
