"""Text that others put into a chat template: no mark is left in it, and nothing else is touched."""

from __future__ import annotations

import pytest

from rag.defused import defused

MARKS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<｜User｜>", "<s>", "</s>", "<bos>",
    "<start_of_turn>", "<end_of_turn>", "<think>", "<|file_sep|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "[SYSTEM_PROMPT]", "[gMASK]", "<unk>", "<|reserved_special_token_0|>", "<extra_id_0>",
)  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_no_mark_is_left(mark: str) -> None:
    for text in (mark, f"a{mark}b", mark * 3, f"<{mark}>", f"[{mark}]", f"<|{mark}|>"):
        assert mark not in defused(text)
        assert defused(text).replace(" ", "") == text


@pytest.mark.parametrize(
    "text",
    [
        "", "a < b and b > c", "1 <2> 3", "[1]", "[sic]", "x[I]", "<", "|", "“quoted” <- this", "a<|b",
        "He said [it] was 5 < 7 | 8 > 2.", "see [A]", "東京は日本の首都", "\n\n",
    ],
)  # fmt: skip
def test_other_text_is_as_it_was(text: str) -> None:
    assert defused(text) == text
