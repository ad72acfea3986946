"""Text from documents and messages, made harmless for a terminal.

Control characters could move the cursor, rewrite the window's title or hide what was said; bidirectional
overrides and embeddings could make a line read other than it is. Each is shown as one sign instead.
"""

from __future__ import annotations

_SIGNS = {
    **{code: 0x2400 + code for code in range(0x20)},  # the pictures that Unicode has for them
    0x7F: 0x2421,
    **dict.fromkeys(
        (*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)), 0xFFFD
    ),
}


def visible(text: str) -> str:
    """The text with a sign in place of each character that a terminal would act on, line ends included."""
    return text.translate(_SIGNS)


def flowing(text: str) -> str:
    """As `visible`, with each stretch of white space as one space: for text that may be wrapped."""
    return visible(" ".join(text.split()))
