"""Settings of the index, one frozen model. `rag.cli` and `server.__main__` read them; nothing else does."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from index.addresses import joined


class IndexSettings(BaseModel):
    """How documents become passages. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedder: str = Field(
        "all-minilm-l6-v2",
        min_length=1,
        description="catalogue name, folder of a sentence-transformers model, or endpoints: "
        "http://HOST:PORT/v1#NAME; `hash` is a fake",
    )
    embedder_key_file: str = Field("", description="file with the key of the endpoints")
    embedder_key: SecretStr = Field(SecretStr(""), description="the key itself; meant for a variable")
    passage_tokens: int = Field(128, ge=16, le=8192, description="largest passage, in tokens of the embedder")
    batch_size: int = Field(32, ge=1, le=1024, description="passages embedded at once")
    vectors: Literal["auto", "exact", "trained"] = Field(
        "auto", description="search over vectors: exact up to 80 MB of them, then in trained lists"
    )
    ignore: tuple[str, ...] = Field((), description="gitignore-style patterns of what a walk passes over")
    max_file_bytes: int = Field(64 * 1024 * 1024, ge=1, description="larger files are refused, in bytes")

    @field_validator("embedder", mode="before")
    @classmethod
    def _several(cls, embedder: object) -> object:
        return joined(embedder)
