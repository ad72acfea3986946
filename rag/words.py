"""Words, numbers and names of a text, folded so that the same thing written differently compares equal.

Retrieval, the gate and the check all see text through this module, so that they agree on what a
word is. Stems are Snowball's English ones (Porter 2); function words carry no content.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import regex
import snowballstemmer

# "U. S.", as some models space it, is one word too.
_WORD = regex.compile(
    # Letters with the marks that combine with them: "ü" may be two code points.
    r"(?:\p{L}\. ?){2,}(?<! )|\d+(?:[.,]\d+)*|\p{L}[\p{L}\p{M}]*(?:[’'\-]\p{L}[\p{L}\p{M}]*)*"
)
_ACRONYM = re.compile(r"(?:[A-Z]\. ?){2,}|[A-Z]{2,6}")
_LONGEST_ACRONYM = 6
# Initials of two letters fit too many people: these names alone count as spelled out.
_TWO_LETTERS = {
    "EU": frozenset({"european", "union"}),
    "UK": frozenset({"unit", "kingdom"}),
    "UN": frozenset({"unit", "nation"}),
    "US": frozenset({"unit", "state"}),
}

FUNCTION_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being
    below between both but by can cannot could did do does doing done down during each either else ever
    every few for from further get gets got had has have having he her here hers herself him himself his
    how however i if in into is it its itself just let like many may me might more most much must my
    myself nor now of off on once only or other our ours ourselves out over own per said same say says
    shall she should since so some such than that the their theirs them themselves then there these they
    this those through to too under until up upon us very via was we were what when where whether which
    while who whom whose why will with within would yet you your yours yourself according mr mrs ms dr
    tell told please take takes took taken taking place make makes made making go goes went gone give
    gives gave given happen happens happened occur occurs occurred""".split()
)
_TITLES = frozenset("Mr Mrs Ms Dr Prof Gen Col Maj Capt Lt Sgt Sen Rep Gov Rev Hon St".split())
NEGATIONS = frozenset(
    "no not never none nobody nothing neither nor without cannot barely hardly scarcely n't".split()
)
# What is planned, alleged or conditional is not said to be so.
HEDGES = frozenset(
    "appear appears appeared appearing seem seems seemed apparently answer pretend suppose imagine "
    "plan plans planned intend intends intended accuse accused accuses allege alleged suspect suspected "
    "propose proposed proposes threaten threatened threatens if unless would "
    "may might could possibly perhaps allegedly reportedly potentially probably likely unlikely".split()
)

# Past forms and plurals that no suffix rule reaches, by the form that is compared.
_IRREGULAR = {
    form: base
    for base, forms in (
        line.strip().split(": ")
        for line in """arise: arose arisen
        bear: bore borne
        beat: beaten
        become: became
        begin: began begun
        break: broke broken
        bring: brought
        build: built
        buy: bought
        catch: caught
        child: children
        choose: chose chosen
        come: came
        deal: dealt
        draw: drew drawn
        drink: drank drunk
        drive: drove driven
        eat: ate eaten
        fall: fell fallen
        feed: fed
        feel: felt
        fight: fought
        find: found
        flee: fled
        fly: flew flown
        forget: forgot forgotten
        freeze: froze frozen
        grow: grew grown
        hear: heard
        hide: hid hidden
        hold: held
        keep: kept
        know: knew known
        lead: led
        leave: left
        lend: lent
        lose: lost
        man: men
        mean: meant
        meet: met
        pay: paid
        rise: rose risen
        run: ran
        see: saw seen
        seek: sought
        sell: sold
        send: sent
        shake: shook shaken
        shoot: shot
        sing: sang sung
        sink: sank sunk
        speak: spoke spoken
        spend: spent
        stand: stood
        steal: stole stolen
        strike: struck stricken
        swear: swore sworn
        swim: swam swum
        teach: taught
        think: thought
        throw: threw thrown
        understand: understood
        wear: wore worn
        win: won
        woman: women
        write: wrote written""".splitlines()
    )
    for form in forms.split()
}

_UNITS = {
    word: value
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
        sixteen seventeen eighteen nineteen""".split()
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=1
    )
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word at its place. `term` is its folded stem: what compares equal; "" for function words.

    `capital`: it begins with an upper-case letter. `initial`: it stands where any word would.
    """

    text: str
    start: int
    end: int
    term: str
    capital: bool
    initial: bool

    @property
    def lower(self) -> str:
        return self.text.casefold()


@dataclass(frozen=True, slots=True)
class Number:
    """A number in figures or words; `value` exact as written.

    `unit` is what makes the same figure another quantity: "%", a currency, "th" of an ordinal, "s" of a
    decade, or empty. `bound` is "more" ("more than 20", "at least"), "less" ("up to", "almost") or empty.
    """

    value: float
    start: int
    end: int
    unit: str = ""
    bound: str = ""

    @property
    def quantity(self) -> tuple[float, str, str]:
        """What two numbers must share to say the same."""
        return self.value, self.unit, self.bound


@functools.lru_cache(maxsize=8192)
def fold(word: str) -> str:
    """Case, accents, possessives and the dots of acronyms taken off; an acronym keeps its capitals."""
    word = word.replace("’", "'")
    for ending in ("'s", "'S"):
        word = word.removesuffix(ending)
    word = word.removesuffix("'")
    if _ACRONYM.fullmatch(word):
        return word.replace(".", "").replace(" ", "")
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


@functools.lru_cache(maxsize=8192)
def term_of(word: str) -> str:
    """The folded stem of a content word; "" for a function word."""
    folded = fold(word)
    if folded[:1].isdigit():
        return folded.replace(",", "")
    if folded.isupper():
        return folded
    if folded in FUNCTION_WORDS or folded in NEGATIONS or folded.endswith("n't"):
        return ""
    folded = _IRREGULAR.get(folded, folded)
    # A stemmer object is not safe to share between threads; one is cheap to make.
    return str(snowballstemmer.stemmer("english").stemWord(folded))


def words(text: str) -> Iterator[Word]:
    """The words of `text` in order. Hyphenated words are taken apart, "three-day" as two."""
    initial = True
    end, last = 0, ""
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        abbreviated = between.strip() == "." and (last in _TITLES or (len(last) == 1 and last.isupper()))
        initial = end == 0 or (not abbreviated and bool(re.search(r"[.!?:“\"‘(\n\[]", between)))
        position = match.start()
        for part in re.split(r"(-)", match.group()):
            if part and part != "-":
                # The month, not the verb.
                term = "may" if part == "May" and not initial else term_of(part)
                yield Word(part, position, position + len(part), term, part[0].isupper(), initial)
                initial = False
            position += len(part)
        end, last = match.end(), match.group()


def content_terms(text: str) -> frozenset[str]:
    """The folded stems of the content words of `text`."""
    return frozenset(word.term for word in words(text) if word.term)


def names(text: str) -> frozenset[str]:
    """Terms written with a capital where no sentence begins: names, months, weekdays, acronyms."""
    return frozenset(word.term for word in words(text) if word.capital and not word.initial and word.term)


def numbers(text: str) -> list[Number]:
    """Numbers in figures ("12,000", "1.5 million") and in words ("three thousand", "third")."""
    found: list[Number] = []
    run: list[Word] = []
    linked = ""
    for word in words(text):
        if run and word.lower == "and" and run[-1].lower in _SCALES:
            linked = word.text
            continue
        gap = text[run[-1].end : word.start].strip(" \u00a0\n\t-") if run else ""
        if run and (gap != linked or not _continues(run, word)):
            found.extend(_close(run))
            run = []
        linked = ""
        if _is_number_word(word) and not (word.lower == "one" and _NO_NUMBER.search(text[: word.start])):
            run.append(word)
    found.extend(_close(run))
    return [replace(number, unit=_unit(text, number), bound=_bound(text, number)) for number in found]


_NO_NUMBER = re.compile(r"\b(?:no|any|some|every|each|which|this|that)\s+$", re.IGNORECASE)
_CURRENCY = {"$": "$", "dollar": "$", "€": "€", "euro": "€", "£": "£", "pound": "£"}
_AFTER = re.compile(r"\s?(%|per ?cent\b|dollar|euro|pound)|(s|st|nd|rd|th)\b", re.IGNORECASE)
_LESS = re.compile(
    r"\b(?:under|below|(?:fewer than|less than|at most|up to|no more than|almost|nearly)(?: the)?)\s+$",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"\b(?:over|above|(?:more than|at least|exceed(?:s|ed|ing)?|no (?:fewer|less) than)(?: the)?)\s+$",
    re.IGNORECASE,
)


def _unit(text: str, number: Number) -> str:
    if before := _CURRENCY.get(text[number.start - 1 : number.start]):
        return before
    if after := _AFTER.match(text, number.end):
        if after[2]:
            return "s" if after[2] == "s" else "th"
        return _CURRENCY.get(after[1].lower(), "%")
    last = text[number.start : number.end].rpartition("-")[2].rpartition(" ")[2].casefold()
    return "th" if last in _ORDINALS else ""


def _bound(text: str, number: Number) -> str:
    before = text[max(number.start - 24, 0) : number.start].rstrip("$€£")
    # "No more than" holds "more than": the longer one first.
    return "less" if _LESS.search(before) else "more" if _MORE.search(before) else ""


def _is_number_word(word: Word) -> bool:
    lower = word.lower
    return lower[0].isdigit() or lower in _UNITS or lower in _TENS or lower in _ORDINALS or lower in _SCALES


def _continues(run: list[Word], word: Word) -> bool:
    lower, last = word.lower, run[-1].lower
    if lower in _SCALES:
        return True
    if last in _TENS:
        return 0 < _UNITS.get(lower, 0) < 10 or 0 < _ORDINALS.get(lower, 0) < 10
    return last in _SCALES and (lower in _UNITS or lower in _TENS)


def _close(run: list[Word]) -> Iterator[Number]:
    if not run or (len(run) == 1 and run[0].lower in _SCALES):
        return
    total = current = 0.0
    for word in run:
        lower = word.lower
        if lower[0].isdigit():
            current += _figures(lower)
        elif lower in _SCALES:
            scale = _SCALES[lower]
            if scale == 100:
                current = max(current, 1) * scale
            else:
                total += max(current, 1) * scale
                current = 0
        else:
            current += _UNITS.get(lower, 0) + _TENS.get(lower, 0) + _ORDINALS.get(lower, 0)
    yield Number(total + current, run[0].start, run[-1].end)


def _figures(text: str) -> float:
    """ "12,000" is twelve thousand; "1.5" is one and a half; "1,5" is read as 15 is not: as 1.5."""
    groups = text.split(",")
    if len(groups) > 1 and all(len(group.partition(".")[0]) == 3 for group in groups[1:]):
        return float("".join(groups))
    return float(text.replace(",", ".", 1).replace(",", "")) if text.count(".") <= 1 else _dotted(text)


def _dotted(text: str) -> float:
    groups = text.split(".")
    return float("".join(groups)) if all(len(g) == 3 for g in groups[1:]) else float(groups[0])


def is_negation(word: Word) -> bool:
    lower = word.lower.replace("’", "'")
    return lower in NEGATIONS or lower.endswith("n't")


def is_hedge(word: Word) -> bool:
    return word.lower in HEDGES and word.term != "may"  # the month


def acronyms(text: str) -> dict[str, frozenset[str]]:
    """Initials of runs of capitalised words, each with its words' terms: "United Nations" gives UN."""
    found: dict[str, frozenset[str]] = {}
    run: list[Word] = []
    end = 0
    for word in words(text):
        if run and not (word.capital and text[end : word.start].isspace()):
            run = []
        if word.capital:
            run = [*run[-(_LONGEST_ACRONYM - 1) :], word]
        for first in range(len(run) - 1):
            part = run[first:]
            initials = "".join(member.text[0] for member in part)
            terms = frozenset(member.term for member in part)
            if len(part) > 2 or _TWO_LETTERS.get(initials) == terms:
                found[initials] = terms
        end = word.end
    return found


# Endings that make a people or a language of a place: Russia, Russian; Iraq, Iraqi.
_OF_A_PLACE = frozenset({"n", "an", "ian", "ean", "i", "ese", "ish"})


def is_same_name(one: str, other: str) -> bool:
    """Whether two folded names are equal, or one is the adjective of the other."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    return len(short) >= 4 and long.startswith(short) and long[len(short) :] in _OF_A_PLACE
