"""Text that goes into a chat template which others fill in: nothing in it may be one of the template's marks.

A model in our own process is given tokens, and there document text never becomes a control token (see
`rag.llama`). An endpoint is given text, which it puts between its marks before it is cut into tokens: what
spells a mark would be one. So whatever looks like one gets a space behind its first character. The model then
reads `< |im_start|>`; what is cited is the document's own text all the same.
"""

from __future__ import annotations

import re

_MARKS = re.compile(
    r"""
      <(?=[|｜][^<>\n]{0,64}>)              # <|im_start|>, <|eot_id|>, <｜User｜>
    | <(?=/?[A-Za-z_][\w.:-]{0,63}>)        # <s>, </s>, <bos>, <start_of_turn>, <think>
    | <(?=</?\w{1,16}>>)                    # <<SYS>>
    | \[(?=/?[A-Za-z][A-Z_]{2,31}\])        # [INST], [/INST], [SYSTEM_PROMPT], [gMASK]
    """,
    re.VERBOSE,
)


def defused(text: str) -> str:
    """The text, with nothing in it that a tokenizer could take for a mark."""
    return _MARKS.sub(lambda match: f"{match.group()} ", text)
