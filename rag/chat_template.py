"""A model's own chat template, rendered around placeholders instead of around text."""

from __future__ import annotations

import datetime
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from index.errors import ModelUnsuitable

# From the private use area, so that no template trims, folds or escapes them.
_INSTRUCTIONS, _CONTEXT, _QUESTION = "\ue000\ue010\ue001", "\ue000\ue011\ue001", "\ue000\ue012\ue001"
# Some templates write today's date. One that moved on would make every saved reading stale overnight.
_FIXED_DAY = datetime.date(2024, 7, 26)


class ChatTemplate:
    """The control text that stands before, between and after what a prompt says.

    Prompts are tokenized apart from it, with control tokens off, so `<|im_start|>` in a document stays
    twelve characters of text. `before` precedes the instructions, `between` stands between them and the
    context, `after` follows the question. Raises ModelUnsuitable for a template that fails, or that
    drops, repeats or moves a message.
    """

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals |= {
            "raise_exception": _refuse,
            "strftime_now": _FIXED_DAY.strftime,
            "bos_token": bos,
            "eos_token": eos,
        }
        user = _CONTEXT + _QUESTION
        with_system = [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": user}]
        # Some models (Gemma among them) know no system turn: the instructions open the user's.
        without = [{"role": "user", "content": f"{_INSTRUCTIONS}\n\n{user}"}]
        try:
            template = environment.from_string(source)
            try:
                parts = _parts(template, with_system)
            except Exception:  # whatever stops it, the other form may do
                parts = _parts(template, without)
        except Exception as error:  # the template is a foreign program: it can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelUnsuitable(
                f"the chat template in this model file cannot be used ({reason}); choose another model"
            ) from error
        self.before, self.between, self.after = parts


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _parts(template: jinja2.Template, messages: list[dict[str, str]]) -> tuple[str, str, str]:
    # Models that can think aloud first are asked not to: every token counts.
    rendered = template.render(messages=messages, add_generation_prompt=True, enable_thinking=False)
    if any(rendered.count(mark) != 1 for mark in (_INSTRUCTIONS, _CONTEXT, _QUESTION)):
        raise jinja2.TemplateError("it drops or repeats a message")
    before, _, rest = rendered.partition(_INSTRUCTIONS)
    between, found, after = rest.partition(_CONTEXT + _QUESTION)
    if not found:
        raise jinja2.TemplateError("it moves the messages")
    return before, between, after
