"""Plain text: decoding, paragraphs, titles."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reader_checks import EXOTIC, URI, check_blocks, read, shown, uncovered

from index.errors import EmptyDocument, UnreadableDocument
from index.extract import clean_extracted
from index.readers import read_path
from index.titles import clean_title

TEXT = st.lists(st.one_of(EXOTIC, st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))).map(
    "".join
)


def test_text_is_the_file_character_for_character() -> None:
    text = "One e\u0301.\r\nTwo \ufb01.\r\rThree\u2028four.\u2029Five 👩‍👧.\x85\n\n  שלום.\t\n"
    document = read(text, "a.txt")
    assert document.text == text
    assert document.media_type == "text/plain"
    assert document.uri == URI
    assert document.pages == ()
    assert uncovered(document) == ""


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_a_byte_order_mark_names_the_encoding_and_is_no_part_of_the_text(encoding: str) -> None:
    marked = "Zoë 👋 said so." if encoding in {"utf-8-sig", "utf-16", "utf-32"} else "\ufeffZoë 👋 said so."
    document = read(marked.encode(encoding), "a.txt")
    assert document.text == "Zoë 👋 said so."
    assert document.blocks[0].start == 0


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Café", "cp1252"),
        ("Plain words at a price of 5\u20ac, “quoted” — and the Straße in Zürich.", "cp1252"),
        ("Él comió en la montaña", "latin-1"),
        ("Привет, как дела? Сегодня хорошая погода в Москве.", "cp1251"),
        ("Сегодня хорошая погода в Москве.", "koi8_r"),
        ("これは日本語のテキストです。今日は天気がいい。", "cp932"),
        ("这是一个中文句子。今天天气很好。", "gb18030"),
        ("한국어 텍스트입니다. 오늘 날씨가 좋다.", "cp949"),
    ],
)
def test_old_encodings_are_guessed(text: str, encoding: str) -> None:
    assert read(text.encode(encoding), "a.txt").text == text


def test_bytes_that_break_their_byte_order_mark_are_refused() -> None:
    with pytest.raises(UnreadableDocument, match=r"^a\.txt is marked UTF-8 but breaks it at byte 5:"):
        read(b"\xef\xbb\xbfab\xff", "a.txt")


def test_blank_lines_divide_and_wrapped_lines_do_not() -> None:
    first = "The minister met Gen. Adams and Mr. Putin in the city of Kazan, where the summit was held. " * 3
    second = (
        "North Korea sent troops. They came by ship. Nobody was told of it, and nobody asked for it. " * 3
    )
    wrapped = [textwrap.fill(first.strip(), 40), textwrap.fill(second.strip(), 72)]
    document = read("\n \n\n".join(wrapped) + "\n", "a.txt")
    assert shown(document) == wrapped


@pytest.mark.parametrize("width", [20, 34, 60, 79, 100, 160])
def test_no_width_of_wrapping_cuts_a_paragraph(width: int) -> None:
    words = (
        "Mr. Lee of the U.S. Navy. He saw Kim. Dr. Who came. An Example Title And More? Yes! It was so. " * 6
    )
    paragraph = textwrap.fill(words.strip(), width)
    assert shown(read(paragraph, "a.txt")) == [paragraph]


def test_one_paragraph_a_line() -> None:
    long = "This is a sentence of some length that nobody would wrap at such a width. " * 3
    lines = ["A Short Headline", long.strip(), "He said so.", long.strip(), "Credit: someone"]
    assert shown(read("\n".join(lines), "a.txt")) == lines


def test_wide_lines_that_are_wrapped_or_end_in_an_abbreviation_are_kept_together() -> None:
    full = "word " * 29 + "done."
    assert (
        len(read("\n".join([full, "Another " + full[8:], "Another " + full[8:], "Another."]), "a.txt").blocks)
        == 1
    )
    assert len(read("word " * 30 + "Mr.\nSmith spoke.", "a.txt").blocks) == 1
    assert len(read("It was found in the\n" + "garden " * 30 + "shed.", "a.txt").blocks) == 1
    assert len(read("word " * 30 + "was done.\nSmith spoke.", "a.txt").blocks) == 2


def test_a_long_line_in_wrapped_text_changes_nothing_around_it() -> None:
    text = (
        "The page that was seen in\nRussia is found at\nhttps://example.org/"
        + "a" * 150
        + "\nand it is long."
    )
    assert shown(read(text, "a.txt")) == [text]


def test_list_items_headings_rules_and_indents_divide_lines() -> None:
    text = textwrap.dedent("""\
        Shopping And Cooking
        We need the following things for the dinner that we will have on Sunday:
        - bread
        - a bottle of the good olive oil from the shop in the old town, please
        - salt
        ----
        It will be fine. We have made it often enough, and nobody was ill at all.
           The next day, we rest.
        """)
    assert shown(read(text, "a.txt")) == [
        "Shopping And Cooking",
        "We need the following things for the dinner that we will have on Sunday:",
        "- bread",
        "- a bottle of the good olive oil from the shop in the old town, please",
        "- salt",
        "----",
        "It will be fine. We have made it often enough, and nobody was ill at all.",
        "The next day, we rest.",
    ]


def test_form_feed_and_paragraph_separator_end_a_paragraph() -> None:
    assert shown(read("one\ftwo\u2029three\u2028four", "a.txt")) == ["one", "two", "three\u2028four"]


@given(TEXT)
def test_text_blocks_cover_everything(text: str) -> None:
    try:
        document = read(text, "a.txt")
    except EmptyDocument:
        # Nothing to see, or nothing but what is invisible.
        assert not any(c.isprintable() and not c.isspace() for c in text)
        return
    assert document.text == text.removeprefix("\ufeff")
    assert uncovered(document) == ""
    assert document == read(text, "a.txt")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("By someone\n\nThe Long Way to the North\n\nIt began.", "The Long Way to the North"),
        ("It was a dark night.\n\nToo Short\n\nNone of these words are capitals\n\nText.", "notes"),
        ("Read More at https://example.org Today\n\nText.", "notes"),
        ("The Long Way Ends Here.\n\nText.", "notes"),
        ("“The Long Way\tto the North”\n\nText.", "“The Long Way to the North”"),
        ("x.\n\n" * 9 + "The Tenth Block Counts", "The Tenth Block Counts"),
        ("x.\n\n" * 10 + "The Eleventh Block Does Not", "notes"),
    ],
)
def test_text_title_is_a_headline_among_the_first_ten_blocks_else_the_stem(text: str, title: str) -> None:
    assert read(text, "notes.txt").title == title


def test_the_seed_article_gets_its_headline() -> None:
    seed = Path(__file__).parent.parent / "seeds" / "000_ca632847ae230c67.txt"
    document = read_path(seed)
    check_blocks(document)
    assert document.title == "At BRICS, Putin Appears to Say That North Korean Troops Are in Russia"
    assert document.text == seed.read_bytes().decode()
    assert shown(document)[1] == "Credit...Maxim Shemetov/Reuters"


def test_titles_are_one_short_clean_line() -> None:
    assert clean_title(" a\r\n\tb\x00\x1b\u202ec\ud800 ") == "a bc"
    assert clean_title("x" * 200) == "x" * 200
    assert clean_title("x" * 201) == "x" * 199 + "…"


def test_extracted_text_can_be_stored() -> None:
    assert clean_extracted("a\r\nb\rc\x00\x07\u2028d\te") == "a\nb\nc\nd\te"
    assert clean_extracted("\ud83d\udc4b \ud800 \udc4b") == "👋 \ufffd \ufffd"
