"""From a sentence-transformers folder to a graph for ONNX Runtime that gives the reference's vectors.

Run as a process of its own: what tracing a model needs in memory (PyTorch, above all) ends with it, and its
warnings stay here. It prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.errors import FootnoteError
from index.onnx_embed import OnnxEncoder, TextForm
from index.reference import ReferenceEncoder, load_reference
from index.weights import SafetensorsFile, weight_files, weights_folder

if TYPE_CHECKING:
    import onnx
    from sentence_transformers import SentenceTransformer

LOWEST_COSINE = 0.99999
"""Between a vector of the graph and one of the reference. Float32 alone leaves 0.999999."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17  # the first with LayerNormalization
_WORTH_MAPPING = 1_024
"""Bytes. Smaller tensors stay in the graph."""

SAMPLE = (
    "Where did the BRICS leaders meet?",
    "",
    "a",
    "  A line with space around it.\n",
    "South Korea’s intelligence agency estimated that there are 3,000 North Korean soldiers on Russian soil.",
    "The treaty was ratified by the lower house on 24 October 2024, and signed two weeks later.",
    "Dr. Clara Zetterlund (1871–1940) designed the bridge; it cost £12,500 and took 3½ years to build.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)",
    "Der Bundestag beschloß am Donnerstag, die Förderung für Wärmepumpen zu verlängern.",
    "Les accords d’Évian furent signés le 18 mars 1962, après de longues négociations.",
    "Президент выступал в Казани в последний день саммита.",
    "俄罗斯总统在喀山峰会的最后一天发表讲话。",
    "كان الرئيس الروسي يتحدث في قازان في اليوم الأخير من القمة.",
    "राष्ट्रपति ने शिखर सम्मेलन के अंतिम दिन भाषण दिया।",
    "See https://example.org/a/b?c=d&e=%20f#g or write to someone@example.org — e.g. before 9 a.m. 👩‍🚀🎉",
    "Shares lost a tenth of their value within an hour, then recovered most of it by the close of trading.",
    "No, the committee has not denied that its members were told; it has declined to say when.",
    "[MASK] [SEP] [CLS] are words here.",
    "naïve café, naïve café",
    "Water boils at 100 °C at sea level, but at about 71 °C on the summit of Mount Everest. " * 3,
    "The quick brown fox jumps over the lazy dog, and the dog, which was not asleep, looks up. " * 40,
)
"""What is compared: short and long, cut and padded, several scripts, as people write and as they do not."""


class Unexportable(Exception):
    """This model has to stay with the reference."""


def exported(folder: Path) -> tuple[bytes, TextForm, float]:
    """The graph of the model in `folder`, how its texts are to be prepared, and the lowest cosine found.

    Raises Unexportable where it is not the same model, ModelDamaged where the folder's files are.
    """
    form, graph = _traced(load_reference(folder, attn_implementation="eager"))
    graph = _without_weights(graph, folder)
    reference = load_reference(folder)
    encoder = OnnxEncoder(graph, weights_folder(folder), folder / "tokenizer.json", form, threads=0)
    return graph, form, compared(reference, encoder, SAMPLE)


def compared(reference: SentenceTransformer, encoder: OnnxEncoder, texts: Sequence[str]) -> float:
    """The lowest cosine between the vectors of both. Raises Unexportable where it is too low."""
    for text, found in zip(texts, encoder.word_pieces(texts), strict=True):
        wanted = _features(reference, [text])["input_ids"][0].tolist()
        if found != wanted:
            raise Unexportable(f"its tokenizer gives other word pieces for {text[:40]!r}")
    wanted_vectors, vectors = ReferenceEncoder(reference).encode(texts), encoder.encode(texts)
    if wanted_vectors.shape != vectors.shape:
        raise Unexportable(f"its graph gives vectors of shape {vectors.shape}, not {wanted_vectors.shape}")
    cosines = (wanted_vectors * vectors).sum(axis=1)
    lowest = float(cosines.min())
    if not lowest >= LOWEST_COSINE:  # nan too
        worst = texts[int(cosines.argmin())]
        raise Unexportable(f"its graph gives another vector for {worst[:40]!r}: the cosine is {lowest:.6f}")
    return lowest


def _traced(model: SentenceTransformer) -> tuple[TextForm, bytes]:
    import io

    import torch

    if model.default_prompt_name is not None:
        raise Unexportable(f"it puts a prompt before every text: {model.default_prompt_name}")
    tokenizer: Any = model.tokenizer
    if (tokenizer.padding_side, tokenizer.truncation_side) != ("right", "right"):
        raise Unexportable("its tokenizer pads or cuts on the left")
    # Of unequal length: a trace of full rows alone would leave out the mask.
    features = _features(model, ["a longer line of text, with several words in it", "two words"])
    tensors = {name: value for name, value in features.items() if isinstance(value, torch.Tensor)}
    names = [name for name in _INPUTS if name in tensors]
    if len(names) < len(tensors) or names[:2] != list(_INPUTS[:2]):
        raise Unexportable(f"it needs other inputs than word pieces: {', '.join(tensors)}")

    class FromWordPieces(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.model(dict(zip(names, inputs, strict=True)))["sentence_embedding"]
            return vectors

    written = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and what tracing fixes
        torch.onnx.export(
            FromWordPieces().eval(),
            tuple(tensors[name] for name in names),
            written,  # type: ignore[arg-type]
            input_names=names,
            output_names=["sentence_embedding"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names}
            | {"sentence_embedding": {0: "texts"}},
            opset_version=_OPSET,
            # Weights stay as they lie in their file; ONNX Runtime folds constants itself.
            do_constant_folding=False,
            dynamo=False,
        )
    most = model.get_max_seq_length()
    if not isinstance(most, int):
        raise Unexportable("it has no limit on the length of a text")
    form = TextForm(tuple(names), max_tokens=most, pad_id=int(tokenizer.pad_token_id))
    return form, written.getvalue()


def _features(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    prepare = getattr(model, "preprocess", None) or model.tokenize  # its name until version 6
    features: dict[str, Any] = prepare(texts)
    return features


def _without_weights(graph: bytes, folder: Path) -> bytes:
    """The same graph with a reference into the safetensors file in place of each tensor that lies there."""
    import onnx

    model = onnx.load_model_from_string(graph)
    home = weights_folder(folder)
    files = [SafetensorsFile(path) for path in weight_files(folder) if path.is_relative_to(home)]
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) >= _WORTH_MAPPING:
            for file in files:
                offset = file.find(tuple(tensor.dims), tensor.raw_data)
                if offset is not None:
                    name = file.path.relative_to(home).as_posix()
                    _point(tensor, name, offset, len(tensor.raw_data), onnx.TensorProto.EXTERNAL)
                    break
    packed: bytes = model.SerializeToString()
    return packed


def _point(tensor: onnx.TensorProto, location: str, offset: int, length: int, external: Any) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = external
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def run() -> None:
    """`FOLDER TARGET`: write the graph to TARGET and print how it is to be used, or why there is none."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        graph, form, lowest = exported(folder)
        target.write_bytes(graph)
        said: dict[str, Any] = {"form": asdict(form), "lowest_cosine": lowest}
    except (FootnoteError, OSError, MemoryError) as error:
        said = {"failed": str(error)}  # may be otherwise the next time
    except Exception as error:  # whatever tracing, exporting and ONNX Runtime raise on what they cannot do
        said = {"refused": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    sys.stdout.write("\n" + json.dumps(said) + "\n")
