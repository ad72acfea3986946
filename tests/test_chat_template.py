from __future__ import annotations

import pytest

from index.errors import ModelUnsuitable
from rag.chat_template import ChatTemplate

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def parts(source: str) -> tuple[str, str, str]:
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    return template.before, template.between, template.after


def test_what_stands_around_the_text() -> None:
    assert parts(CHATML) == (
        "<|im_start|>system\n",
        "<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    )


def test_without_a_system_role_the_instructions_open_the_users_turn() -> None:
    assert parts(NO_SYSTEM) == (
        "<s><start_of_turn>user\n",
        "\n\n",
        "<end_of_turn>\n<start_of_turn>model\n",
    )


def test_a_system_turn_that_is_dropped_is_folded_as_well() -> None:
    turn = "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% endif %}"
    source = "{% for m in messages %}" + turn + "{% endfor %}"
    assert parts(source) == ("[INST] ", "\n\n", " [/INST]")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ messages[0].role }}", "drops or repeats a message"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "drops or repeats a message"),
        ("{% for m in messages | reverse %}{{ m.content }}{% endfor %}", None),
        ("{% for m in messages %}{{ m.content | reverse }}{% endfor %}", "drops or repeats a message"),
        ("{% for m in messages %}{{ m.content", "end of print statement"),
        ("{{ messages[7].content.strip() }}", "has no element 7|undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append({'role': 'user', 'content': 'more'}) }}", "unsafe"),
        ("{% include 'other' %}", "no loader"),
    ],
)
def test_a_template_that_cannot_be_trusted_is_refused(source: str, reason: str | None) -> None:
    if reason is None:  # the user's turn first: the system's is folded into it instead
        assert parts(source) == ("", "\n\n", "")
        return
    with pytest.raises(ModelUnsuitable, match=reason) as caught:
        parts(source)
    assert str(caught.value).endswith("choose another model")
    assert "\n" not in str(caught.value)


def test_a_dated_template_says_the_same_every_day() -> None:
    before, _, _ = parts("{{ strftime_now('%d %B %Y') }}\n" + CHATML)
    assert before == "26 July 2024\n<|im_start|>system\n"


def test_a_model_that_thinks_aloud_is_asked_not_to() -> None:
    _, _, after = parts(CHATML + "{% if enable_thinking is defined and not enable_thinking %}<no>{% endif %}")
    assert after.endswith("assistant\n<no>")


def test_loop_controls_are_known() -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"
    )
    assert parts(source) == ("", "", "")
