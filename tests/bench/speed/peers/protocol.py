"""How a peer is asked: one JSON line with a question in, one with its answer out.

Every peer is a script for a Python of its own: `peer.py MODEL EMBEDDER DOCUMENT THREADS`, with the GGUF file,
the embedder's folder, the article, and how many threads llama.cpp may take. All run llama-cpp-python with a
context of 4,096 tokens, temperature 0 and at most 256 tokens an answer; all else is as its makers set it.

What an answer points to: the sources whose numbers it names, as [1]; where it names none, all that it was
given, since a reader is left with all of them.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

CONTEXT_TOKENS, ANSWER_TOKENS = 4096, 256


class Counter:
    """Tokens of the prompts as they were sent, and of these and the answers what was really evaluated."""

    def __init__(self) -> None:
        self.sent = self.evaluated = self.written = 0
        inner, generate = llama_cpp.Llama.eval, llama_cpp.Llama.generate
        counter = self

        def counted_eval(model: Any, tokens: Sequence[int]) -> Any:
            counter.evaluated += len(tokens)
            return inner(model, tokens)

        def counted(model: Any, tokens: Sequence[int], *rest: Any, **options: Any) -> Any:
            counter.sent += len(tokens)
            for token in generate(model, tokens, *rest, **options):
                counter.written += 1
                yield token

        llama_cpp.Llama.eval, llama_cpp.Llama.generate = counted_eval, counted

    def take(self) -> dict[str, int]:
        # A token is evaluated once it was written, but for the last one.
        read = self.evaluated - max(self.written - 1, 0)
        found = {"sent": self.sent, "read": read, "written": self.written}
        self.sent = self.evaluated = self.written = 0
        return found


def serve(answer: Callable[[str], tuple[str, Sequence[str]]], versions: dict[str, str], text: str) -> None:
    """Answer lines until there are none. `answer` gives the answer and the texts of its numbered sources."""
    counter = Counter()
    print(json.dumps({"ready": True, "versions": versions}), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        said, sources = answer(json.loads(line)["question"])
        seconds = time.perf_counter() - began
        named = sorted({int(one) for one in re.findall(r"\[(?:Source )?(\d+)\]", said)})
        numbered = [sources[number - 1] for number in named if 0 < number <= len(sources)]
        cited = [place(text, source) for source in numbered or sources]
        found = {"answer": said, "seconds": seconds, "numbered": bool(numbered), **counter.take()}
        print(json.dumps({**found, "cited": [one for one in cited if one]}), flush=True)


def place(text: str, source: str) -> tuple[int, int] | None:
    """Where a source stands in the article: its words in order, whatever white space a splitter made."""
    words = source.split()
    found = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
    return found.span() if found else None


def arguments() -> tuple[str, str, str, int]:
    """The model, the embedder's folder, the article's text, the threads."""
    model, embedder, document, threads = sys.argv[1:5]
    return model, embedder, Path(document).read_text(encoding="utf-8"), int(threads)
