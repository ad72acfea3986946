"""llama.cpp alone, through llama-cpp-python's C interface: what our figures are held against.

Run as a script, in a process of its own: `bare.py MODEL CONTEXT THREADS` loads the model and answers JSON
lines. With `TEXT COUNT` behind, it reads the text, writes so many tokens and ends: a cold process.

    {"read": text}                  → {"tokens", "seconds"}   from an empty context
    {"write": text, "count": n}     → {"tokens", "seconds"}   of writing alone, after the text was read
    {"steps": [1, 2, 4, …]}         → {"seconds": […]}        of one evaluation of so many tokens at once
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as api

BATCH = 512  # llama-cpp-python's own


class Bare:
    """One model, one context, the likeliest token."""

    def __init__(self, path: str, context_tokens: int, threads: int) -> None:
        self._silent = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(self._silent, None)
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(path.encode(), params)
        self.vocab = api.llama_model_get_vocab(self.model)
        context = api.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = context_tokens, BATCH, BATCH
        context.n_threads = context.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, context)
        self.memory = api.llama_get_memory(self.context)
        self.sampler = api.llama_sampler_init_greedy()
        self.held: list[int] = []  # of `hold`

    def tokens(self, text: str) -> list[int]:
        data = text.encode()
        buffer = (api.llama_token * (len(data) + 8))()
        return list(
            buffer[: api.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), True, True)]
        )

    def evaluate(self, tokens: Sequence[int]) -> None:
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            array = (api.llama_token * len(part))(*part)
            if api.llama_decode(self.context, api.llama_batch_get_one(array, len(part))):
                raise RuntimeError("llama.cpp could not evaluate this")

    def read(self, text: str) -> dict[str, Any]:
        tokens = self.tokens(text)
        self.held = []
        api.llama_memory_clear(self.memory, True)
        began = time.perf_counter()
        self.evaluate(tokens)
        return {"tokens": len(tokens), "seconds": time.perf_counter() - began}

    def hold(self, text: str) -> None:
        """Have read this text, and nothing after it; what is read already is not read again."""
        tokens = self.tokens(text)
        if tokens != self.held or not api.llama_memory_seq_rm(self.memory, 0, len(tokens) - 1, -1):
            self.read(text)
            self.held = tokens
        else:
            self.evaluate(tokens[-1:])

    def write(self, count: int) -> dict[str, Any]:
        """Goes on past what would end an answer, so that all write as much."""
        began = time.perf_counter()
        for _ in range(count):
            self.evaluate([api.llama_sampler_sample(self.sampler, self.context, -1)])
        return {"tokens": count, "seconds": time.perf_counter() - began}

    def steps(self, sizes: Sequence[int]) -> dict[str, Any]:
        self.held = []
        token = self.tokens("a")[-1]
        found = []
        for size in sizes:
            took = []
            for _ in range(5):
                began = time.perf_counter()
                self.evaluate([token] * size)
                took.append(time.perf_counter() - began)
            found.append(min(took))
        return {"seconds": found}


def main() -> None:
    bare = Bare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    if len(sys.argv) > 4:
        bare.read(sys.argv[4])
        print(json.dumps(bare.write(int(sys.argv[5]))))
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "read" in asked:
            answer = bare.read(asked["read"])
        elif "write" in asked:
            bare.hold(asked["write"])
            answer = bare.write(asked["count"])
        else:
            answer = bare.steps(asked["steps"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
