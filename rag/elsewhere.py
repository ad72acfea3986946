"""From settings to models that run elsewhere: which endpoints, which key, how much patience.

Only who names an endpoint sends anything to it.
"""

from __future__ import annotations

from pathlib import Path

from index.addresses import Address, addresses_of, somewhere_else
from index.endpoint_calls import Patience
from index.endpoint_embed import EndpointEmbedder
from index.endpoints import Endpoints
from index.errors import ModelUnavailable, UsageError
from rag.config import Settings
from rag.endpoint import EndpointGenerator


def generator_elsewhere(settings: Settings) -> EndpointGenerator:
    """The chat model on the endpoints of the settings. Asks nothing yet.

    Raises UsageError, and ModelUnavailable where the network is not to be used.
    """
    rag = settings.rag
    key = _key(rag.model_key_file, rag.model_key.get_secret_value(), "rag.model_key_file")
    patience = Patience(silence_s=rag.model_silence_s, total_s=rag.model_total_s)
    endpoints = Endpoints(_addresses(settings, rag.model), key=key, patience=patience)
    return EndpointGenerator(endpoints, context_tokens=rag.context_tokens)


def embedder_elsewhere(settings: Settings) -> EndpointEmbedder:
    """The embedder on the endpoints of the settings. Asks nothing yet.

    Raises UsageError, and ModelUnavailable where the network is not to be used.
    """
    index = settings.index
    key = _key(index.embedder_key_file, index.embedder_key.get_secret_value(), "index.embedder_key_file")
    endpoints = Endpoints(_addresses(settings, index.embedder), key=key, spreads=True)
    return EndpointEmbedder(endpoints, batch_size=index.batch_size)


def _addresses(settings: Settings, spec: str) -> tuple[Address, ...]:
    addresses = addresses_of(spec)
    if settings.offline and (others := somewhere_else(addresses)):
        raise ModelUnavailable(
            f"the model is at {others[0]}, and offline no other machine is asked: leave one of the two out"
        )
    return addresses


def _key(file: str, key: str, setting: str) -> str:
    """The key in the file, else the key given. What is said about a bad one does not hold it."""
    if file:
        try:
            key = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise UsageError(f"the file of {setting}, {file}, cannot be read: {reason}") from None
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"the key of {setting} is more than one word, or no plain text: correct it")
    return key
