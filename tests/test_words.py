from __future__ import annotations

import pytest

from rag.words import acronyms, content_terms, is_same_name, names, numbers, words


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("up to 12,000 soldiers", [12000]),
        ("3,000 now and 10,000 by December", [3000, 10000]),
        ("three thousand", [3000]),
        ("twenty-one people", [21]),
        ("two hundred and five", [205]),
        ("1.5 million", [1500000]),
        ("two million three hundred thousand", [2300000]),
        ("article four", [4]),
        ("the third year", [3]),
        ("three-day meeting", [3]),
        ("in 2022, 30 countries", [2022, 30]),
        ("1.234.567 Einwohner", [1234567]),
        ("hundreds of thousands", []),
        ("a thousand cuts", []),
        ("someone", []),
    ],
)
def test_numbers_in_figures_and_words(text: str, values: list[float]) -> None:
    assert [number.value for number in numbers(text)] == values


def test_numbers_keep_their_place() -> None:
    text = "About three thousand of 12,000."
    assert [text[number.start : number.end] for number in numbers(text)] == ["three thousand", "12,000"]


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("more than 20 heads", (20, "", "more")),
        ("no more than 20", (20, "", "less")),
        ("up to 12,000", (12000, "", "less")),
        ("at least $5 million", (5e6, "$", "more")),
        ("5 million dollars", (5e6, "$", "")),
        ("20 percent", (20, "%", "")),
        ("20%", (20, "%", "")),
        ("the 1990s", (1990, "s", "")),
        ("the third year", (3, "th", "")),
        ("on the 3rd", (3, "th", "")),
        ("article four", (4, "", "")),
    ],
)
def test_a_quantity_is_more_than_its_figure(text: str, quantity: tuple[float, str, str]) -> None:
    assert [number.quantity for number in numbers(text)] == [quantity]


def test_no_one_is_no_number() -> None:
    assert numbers("No one came, any one could.") == []


def test_words_are_at_their_place_and_hyphens_part_them() -> None:
    text = "Kyiv’s one-on-one, in “Kazan”."
    found = list(words(text))
    assert [word.text for word in found] == ["Kyiv’s", "one", "on", "one", "in", "Kazan"]
    assert all(text[word.start : word.end] == word.text for word in found)


def test_the_same_word_written_differently_is_one_term() -> None:
    assert content_terms("António Guterres’s visits") == content_terms("Antonio Guterres visited")
    assert content_terms("U.N.") == content_terms("UN") == content_terms("U. N.")
    assert content_terms("The women met and won") == content_terms("a woman meets to win")
    assert content_terms("Mu\u0308ller") == content_terms("M\u00fcller") == {"muller"}
    assert content_terms("US troops") != content_terms("us troops")


def test_function_words_carry_nothing() -> None:
    assert content_terms("What did he say about that, and why not?") == frozenset()


def test_names_are_capitals_inside_a_sentence() -> None:
    assert names("The leaders met Putin in Kazan on Thursday.") == {"putin", "kazan", "thursday"}
    assert names("Leaders met. Everyone left.") == frozenset()


def test_initials_of_capitalised_runs() -> None:
    assert acronyms("the United Nations secretary") == {"UN": frozenset({"unit", "nation"})}
    assert set(acronyms("New York Times")) == {"NYT"}
    assert acronyms("South korea") == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("russia", "russian", True),
        ("ukrain", "ukrainian", True),
        ("iraq", "iraqi", True),
        ("putin", "putin", True),
        ("austria", "australia", False),
        ("niger", "nigeria", False),
        ("us", "use", False),
        ("kim", "kimchi", False),
    ],
)
def test_a_people_has_the_name_of_its_place(one: str, other: str, same: bool) -> None:
    assert is_same_name(one, other) is is_same_name(other, one) is same


def test_what_stands_over_something_counted_is_no_more_than_that() -> None:
    (number,) = numbers("War loomed over the three-day meeting.")
    assert (number.value, number.bound) == (3.0, "")
    (number,) = numbers("It lasted over three days.")
    assert (number.value, number.bound) == (3.0, "more")
