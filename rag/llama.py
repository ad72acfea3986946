"""One llama.cpp model and its context, through the C interface of llama-cpp-python.

Lives in the worker process only (`rag.worker`): a native abort here must not take the asker along.
The low-level interface is used because what makes an answer quick and safe is not in the high-level
one: text tokenized apart from control tokens, a reading saved and restored as sequence state, and a
grammar asked about the chosen token first instead of about the whole vocabulary.

The same prompt gives the same logits, bit for bit, whatever was asked before. That does not come by
itself: how tokens are grouped when they are evaluated changes the logits (by up to 0.6 with a small
model), so a prompt is always evaluated in the same steps, and what is held is only used where it was
evaluated in these.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from llama_cpp import llama_cpp as api

from index.errors import ModelDamaged, ModelUnsuitable
from index.gguf import check_gguf
from rag.chat_template import ChatTemplate
from rag.errors import QuestionError, QuestionTooLong
from rag.readings import Reading
from rag.sampler import Logits, Sampler
from rag.types import Piece, Prompt, Usage

# Prompt tokens evaluated between two looks at the cancel flag: two cores read about 100 a second.
READ_STEP = 64

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt as tokens. `prefix` is the instructions and the context, which a reading is made of.

    `lead` is what all that is asked about one question begins with, its first line; `rest` is the rest.
    """

    prefix: tuple[int, ...]
    lead: tuple[int, ...] = ()
    rest: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        return self.prefix + self.lead + self.rest

    def ends(self) -> list[int]:
        """Where each step of the evaluation ends: every READ_STEP tokens and with each part."""
        ends: list[int] = []
        start = 0
        for part in (self.prefix, self.lead, self.rest):
            stop = start + len(part)
            ends += [min(at + READ_STEP, stop) for at in range(start, stop, READ_STEP)]
            start = stop
        return ends


class LlamaModel:
    """A loaded model with one context and one sequence; not safe to share between threads.

    Raises UnknownModel, ModelDamaged or ModelUnsuitable when the file cannot serve.
    """

    def __init__(self, path: Path, *, context_tokens: int, threads: int) -> None:
        self._log = _Log()
        try:
            self._load(path, context_tokens, threads)
        except (ModelDamaged, ModelUnsuitable):
            self.close()
            # The header often says more plainly what is wrong; only now, since reading it takes a while.
            check_gguf(path)
            raise

    def _load(self, path: Path, context_tokens: int, threads: int) -> None:
        self._context = None
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.use_mmap = True
        params.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ModelDamaged(
                f"llama.cpp cannot load {path} ({self._log.reason()}); choose another model, or if this one "
                "should serve copy or download it again"
            )
        if not api.llama_model_has_decoder(self._model) or api.llama_model_has_encoder(self._model):
            raise ModelUnsuitable(f"{path} is not a chat model: it does not write text; choose a chat model")
        self._vocab = api.llama_model_get_vocab(self._model)
        self._n_vocab = int(api.llama_vocab_n_tokens(self._vocab))
        template = api.llama_model_chat_template(self._model, None)
        if not template:
            raise ModelUnsuitable(f"{path} has no chat template: choose an instruction-tuned model")
        self.template_source = template.decode("utf-8", "replace")
        self._template = ChatTemplate(
            self.template_source,
            bos=self._token_text(api.llama_vocab_bos(self._vocab)),
            eos=self._token_text(api.llama_vocab_eos(self._vocab)),
        )
        trained = int(api.llama_model_n_ctx_train(self._model))
        context = api.llama_context_default_params()
        context.n_ctx = min(context_tokens, trained) if trained > 0 else context_tokens
        context.n_batch = context.n_ubatch = READ_STEP
        context.n_threads = context.n_threads_batch = threads
        # A sliding-window cache that forgets could not be taken back to the end of a section.
        context.swa_full = True
        context.no_perf = True
        self._context = api.llama_init_from_model(self._model, context)
        if not self._context:
            raise ModelUnsuitable(
                f"llama.cpp cannot make a context for {path} ({self._log.reason()}); lower context_tokens or "
                "choose a smaller model"
            )
        if api.llama_pooling_type(self._context) > api.LLAMA_POOLING_TYPE_NONE:
            raise ModelUnsuitable(f"{path} is an embedding model and writes no text; choose a chat model")
        self._memory = api.llama_get_memory(self._context)
        self.context_tokens = int(api.llama_n_ctx(self._context))
        self._held: list[int] = []  # the tokens whose attention state the context holds
        self._ends: list[int] = []  # where each step that evaluated them ended

    def close(self) -> None:
        """Give the native memory back; the model is of no use afterwards."""
        if self._context:
            api.llama_free(self._context)
        if self._model:
            api.llama_model_free(self._model)
        self._context = self._model = None
        self._log.close()

    # -- tokens ---------------------------------------------------------------------------------

    def text_tokens(self, text: str) -> list[int]:
        """Tokens of `text` as text: whatever it says, none of them is a mark of the chat template."""
        tokens = self._tokenize(text, control=False)
        marks = {self._token_text(token) for token in set(tokens) if self._is_mark(token)}
        if not marks:
            return tokens
        # llama.cpp leaves control tokens alone, but not those that the file calls user-defined. What spells
        # one is cut after its first character, so that it cannot be seen whole.
        cuts = [match.start() + 1 for match in re.finditer("|".join(map(re.escape, marks)), text)]
        if not cuts:
            raise ModelUnsuitable("this model cannot tell text from control tokens; choose another model")
        parts = (text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True))
        return [token for part in parts for token in self.text_tokens(part)]

    def prompt_tokens(self, prompt: Prompt) -> Tokens:
        before = self._template.before
        prefix: list[int] = []
        if api.llama_vocab_get_add_bos(self._vocab):
            prefix.append(int(api.llama_vocab_bos(self._vocab)))
            before = before.removeprefix(self._token_text(prefix[0]))
        prefix += self._tokenize(before, control=True)
        prefix += self.text_tokens(prompt.instructions)
        prefix += self._tokenize(self._template.between, control=True)
        prefix += self.text_tokens(prompt.context)
        question = self.text_tokens(prompt.question)
        # The last token of the first line is left out: it may be another when a line follows.
        shared = self.text_tokens(prompt.question.partition("\n")[0])[:-1]
        lead = question[: _common(shared, question)]
        rest = question[len(lead) :] + self._tokenize(self._template.after, control=True)
        rest += self.text_tokens(prompt.reply)
        return Tokens(tuple(prefix), tuple(lead), tuple(rest))

    def is_control(self, token: int) -> bool:
        return bool(api.llama_vocab_is_control(self._vocab, token))

    def _is_mark(self, token: int) -> bool:
        if self.is_control(token) or api.llama_vocab_is_eog(self._vocab, token):
            return True
        if not api.llama_vocab_get_attr(self._vocab, token) & api.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return False
        # Runs of white space are user-defined in some vocabularies, and mark nothing.
        text = self._token_text(token)
        return len(text.strip()) > 1 and text in self.template_source

    def _tokenize(self, text: str, *, control: bool) -> list[int]:
        """Tokens of `text`; control tokens are recognised in it only where `control` says so."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        buffer = (api.llama_token * size)()
        count = api.llama_tokenize(self._vocab, data, len(data), buffer, size, False, control)
        if count < 0:
            raise ModelUnsuitable("the tokenizer of this model failed; choose another model")
        return list(buffer[:count])

    def _token_text(self, token: int) -> str:
        return self._token_bytes(token, control=True).decode("utf-8", "replace") if token >= 0 else ""

    def _token_bytes(self, token: int, *, control: bool = False) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = int(api.llama_token_to_piece(self._vocab, token, buffer, size, 0, control))
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    # -- attention state ------------------------------------------------------------------------

    def holds(self, tokens: Tokens) -> int:
        """How many leading tokens the context holds, evaluated in the steps that `tokens` asks for."""
        same = _common(self._held, tokens.all)
        kept = 0
        for held, wanted in zip(self._ends, tokens.ends(), strict=False):
            if held != wanted or wanted > same:
                break
            kept = wanted
        return kept

    def evaluate(self, tokens: Tokens, cancelled: Callable[[], bool], *, logits: bool = True) -> int | None:
        """Bring the context to hold exactly `tokens`; how many were held before, None if cancelled.

        Where `logits` are wanted, the last step is always evaluated. Raises QuestionError when the context
        is too small.
        """
        wanted, ends = tokens.all, tokens.ends()
        if not wanted:
            raise QuestionError("the prompt is empty: ask something in words")
        if len(wanted) >= self.context_tokens:
            raise QuestionTooLong(
                f"the prompt has {len(wanted)} tokens and the model's context only {self.context_tokens}: "
                "ask a shorter question or raise context_tokens"
            )
        reusable = max((end for end in ends[:-1] if end <= self.holds(tokens)), default=0)
        if not logits and self.holds(tokens) == len(wanted):
            reusable = len(wanted)
        kept = self._truncate(reusable)
        for end in ends:
            if end <= kept:
                continue
            if cancelled():
                return None
            self._decode(wanted[len(self._held) : end])
        return kept

    def _truncate(self, count: int) -> int:
        """Drop what is held beyond `count` tokens, the end of a step; how many are held now."""
        if count < len(self._held):
            if not count or not api.llama_memory_seq_rm(self._memory, 0, count, -1):
                self.forget()  # recurrent models cannot drop a tail: they begin again
            else:
                del self._held[count:]
                self._ends = [end for end in self._ends if end <= count]
        return len(self._held)

    def forget(self) -> None:
        """Hold nothing."""
        api.llama_memory_clear(self._memory, True)
        self._held.clear()
        self._ends.clear()

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (api.llama_token * len(tokens))(*tokens)
        code = api.llama_decode(self._context, api.llama_batch_get_one(array, len(tokens)))
        if code != 0:
            self.forget()
            raise ModelUnsuitable(
                f"llama.cpp could not evaluate the prompt (code {code}): {self._log.reason()}"
            )
        self._held.extend(tokens)
        self._ends.append(len(self._held))

    def state(self, key: str) -> Reading:
        """The attention state of everything held."""
        size = int(api.llama_state_seq_get_size(self._context, 0))
        buffer = (ctypes.c_uint8 * size)()
        written = int(api.llama_state_seq_get_data(self._context, buffer, size, 0))
        if not 0 < written <= size:
            raise ModelUnsuitable("llama.cpp cannot save what this model has read; choose another model")
        return Reading(key=key, tokens=tuple(self._held), state=ctypes.string_at(buffer, written))

    def restore(self, reading: Reading) -> bool:
        """Take up a saved state; False, and an empty context, if llama.cpp does not accept it."""
        self.forget()
        size = len(reading.state)
        data = ctypes.cast(ctypes.c_char_p(reading.state), ctypes.POINTER(ctypes.c_uint8))
        if (
            len(reading.tokens) >= self.context_tokens
            or int(api.llama_state_seq_set_data(self._context, data, size, 0)) != size
        ):
            self.forget()
            return False
        self._held.extend(reading.tokens)
        self._ends.extend(Tokens(reading.tokens).ends())
        return True

    # -- writing --------------------------------------------------------------------------------

    def logits(self) -> Logits:
        """Scores of the next token, shape (vocabulary,); a view that the next evaluation overwrites."""
        pointer = api.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))

    def first_token_log_probabilities(self, choices: Sequence[str]) -> tuple[float, ...]:
        """Natural log of the probability that the next token begins each choice."""
        firsts = [self.text_tokens(choice)[:1] for choice in choices]
        if not all(firsts):
            raise ValueError("a choice is empty")
        logits = self.logits().astype(np.float64)
        peak = logits.max()
        total = peak + np.log(np.exp(logits - peak).sum())
        return tuple(float(logits[token] - total) for (token,) in firsts)

    def generate(
        self,
        tokens: Tokens,
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        grammar: str,
        cancelled: Callable[[], bool],
    ) -> Iterator[Piece]:
        """Pieces of text, never torn inside a character; the last has the usage and why it ended.

        Raises ValueError for a grammar that llama.cpp does not accept.
        """
        with Sampler(
            self._vocab, self._n_vocab, temperature=temperature, seed=seed, grammar=grammar
        ) as sampler:
            kept = self.evaluate(tokens, cancelled)
            if kept is None:
                yield Piece("", Usage(len(tokens.all)), "cancelled")
                return
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            written = 0
            stop: Literal["end", "length", "cancelled"] = "length"
            room = min(max_tokens, self.context_tokens - len(tokens.all))
            while written < room:
                token = sampler.next(self.logits())
                if api.llama_vocab_is_eog(self._vocab, token):
                    stop = "end"
                    break
                written += 1
                if text := decoder.decode(self._token_bytes(token)):
                    yield Piece(text)
                if cancelled():
                    stop = "cancelled"
                    break
                if written < room:
                    self._decode([token])
            # Bytes of a character that was not finished stay in the decoder: it is no text.
            yield Piece("", Usage(len(tokens.all), written, kept), stop)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common beginning."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


class _Log:
    """llama.cpp's own messages, kept instead of printed; errors go to standard error as well.

    There they help to explain the end of the process, if this was one's last.
    """

    def __init__(self) -> None:
        self._errors: list[str] = []
        # llama.cpp keeps the pointer, so the callback must live as long.
        self._callback = api.llama_log_callback(self._take)
        api.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes, _: object) -> None:
        if level == _ERROR_LEVEL and text and text.strip():
            os.write(2, text)
            self._errors.append(" ".join(text.decode("utf-8", "replace").split()))
            del self._errors[:-8]

    def close(self) -> None:
        # Back to llama.cpp's own: the callback goes with this object.
        api.llama_log_set(api.llama_log_callback(), ctypes.c_void_p(0))

    def reason(self) -> str:
        """The first error since the last call: those that follow it are mostly its consequences."""
        reason = self._errors[0] if self._errors else "no reason given"
        self._errors.clear()
        return reason
