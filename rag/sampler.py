"""Choosing the next token, and keeping it within a grammar."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as api

from index.errors import ModelUnsuitable

Logits = npt.NDArray[np.float32]
"""Scores of the next token, shape (vocabulary,)."""

_TOKEN_DATA = np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
_RANDOM_SEED = 0xFFFFFFFF  # llama.cpp takes this one to mean "any"


class Sampler:
    """The likeliest token at temperature 0, else one of the top 40 within 0.95, by temperature and seed.

    With a grammar, the choice is made first and the grammar asked about that one token; only when it
    refuses is the whole vocabulary filtered (as llama.cpp's own common sampler does). Use it in a `with`
    statement: it holds native memory. Raises ValueError for a grammar that llama.cpp does not accept.
    """

    def __init__(self, vocab: Any, size: int, *, temperature: float, seed: int, grammar: str) -> None:
        self._ids = np.arange(size, dtype=np.intc)
        self._rows = np.zeros(size, dtype=_TOKEN_DATA)
        self._grammar: Any = None
        if grammar:
            self._grammar = api.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
            if not self._grammar:
                raise ValueError("llama.cpp refused the grammar")
        self._chain: Any = None
        if temperature > 0:
            self._chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
            for sampler in (
                api.llama_sampler_init_top_k(40),
                api.llama_sampler_init_top_p(0.95, 1),
                api.llama_sampler_init_temp(temperature),
                api.llama_sampler_init_dist(seed % _RANDOM_SEED),
            ):
                api.llama_sampler_chain_add(self._chain, sampler)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler:
                api.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def next(self, logits: Logits) -> int:
        """The next token. Raises ModelUnsuitable when the grammar allows none that this model has."""
        token = self._choose(logits, constrained=False)
        if self._grammar:
            if not self._allows(token):
                token = self._choose(logits, constrained=True)
            api.llama_sampler_accept(self._grammar, token)
        return token

    def _choose(self, logits: Logits, *, constrained: bool) -> int:
        if not constrained and not self._chain:
            return int(logits.argmax())
        # Samplers sort and cut the array: it is filled anew each time.
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        array = _token_array(self._rows)
        if constrained:
            api.llama_sampler_apply(self._grammar, ctypes.byref(array))
            if not np.isfinite(self._rows["logit"]).any():
                # Accepting a refused token would abort the process.
                raise ModelUnsuitable("the grammar allows no token that this model has; choose another model")
        if not self._chain:
            return int(self._rows["id"][self._rows["logit"].argmax()])
        api.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _allows(self, token: int) -> bool:
        rows = np.array([(token, 1.0, 0.0)], dtype=_TOKEN_DATA)
        array = _token_array(rows)
        api.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(np.isfinite(rows["logit"][0]))


def _token_array(rows: npt.NDArray[np.void]) -> Any:
    return api.llama_token_data_array(
        data=rows.ctypes.data_as(ctypes.POINTER(api.llama_token_data)),
        size=len(rows),
        selected=-1,
        sorted=False,
    )
