"""What may be shown and what may not: each test is one way in which a small model goes wrong."""

from __future__ import annotations

import re

import pytest

from rag.config import RagSettings
from rag.ground import Grounder, clean, draft_sentences
from rag.question import is_yes_no
from rag.types import Evidence

TEXT = [
    "The harbour of Rotterdam was enlarged in 2013.",
    "It handles 467 million tonnes of goods a year, the port authority said.",
    "Mayor Ahmed Aboutaleb has said that up to 1,200 dock workers may be hired.",
    "The union FNV estimated that 300 dock workers are missing, and expects 900 by December.",
    "Allard Castelein did not confirm or deny the figures.",
    "His successor, Boudewijn Siemons, was praised by the union and by Lena Vos, a crane driver's widow.",
    "The talks lasted three days.",
    "There was no progress toward an agreement.",
    "Ukrainian grain is unloaded in the Botlek, said Mr. Siemons.",
    "The United Nations inspects each ship.",
]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    evidence = []
    start = 0
    for number, text in enumerate(TEXT, start=1):
        evidence.append(
            Evidence(number, "d", "Port news", "file:///d", None, start, start + len(text), text, 0.0, "")
        )
        start += len(text) + 1
    return Grounder(evidence, threshold=RagSettings().support)


@pytest.mark.parametrize(
    ("claim", "question", "cited"),
    [
        ("The harbour was enlarged in 2013.", "When was the harbour of Rotterdam enlarged?", [1]),
        ("In 2013.", "When was the harbour of Rotterdam enlarged?", [1]),
        ("Up to 1,200 dock workers may be hired.", "How many dock workers may the mayor hire?", [3]),
        ("FNV estimated that three hundred dock workers are missing.", "How many are missing?", [4]),
        ("The talks lasted 3 days.", "How long did the talks last?", [7]),
        ("There was no progress toward an agreement.", "Was there any progress?", [8]),
        ("The UN inspects each ship.", "Who inspects the ships?", [10]),
        ("Grain from Ukraine is unloaded in the Botlek.", "Where is the grain unloaded?", [9]),
        # "It" is the harbour of the sentence before, which the claim names: both are needed.
        (
            "The harbour of Rotterdam handles 467 million tonnes of goods.",
            "What does the harbour handle?",
            [1, 2],
        ),
        # "His" is Castelein's.
        ("Castelein's successor was praised by the union.", "Whose successor was praised?", [5, 6]),
    ],
)
def test_supported_by_the_fewest_sentences(
    grounder: Grounder, claim: str, question: str, cited: list[int]
) -> None:
    verdict = grounder.check(claim, question)
    assert verdict.reason == ""
    assert [source.number for source in verdict.sources] == cited
    assert 0 < verdict.score <= 1


@pytest.mark.parametrize(
    ("claim", "question", "reason"),
    [
        # An invented figure, an invented day, a figure of somebody else.
        ("The harbour was enlarged in 2014.", "When was the harbour enlarged?", "the number 2014"),
        ("The harbour was enlarged on 3 May 2013.", "When was the harbour enlarged?", "the number 3"),
        (
            "The mayor said that 300 dock workers may be hired.",
            "How many may be hired?",
            "not in the cited text: .*mayor",
        ),
        # Said of somebody else: of the sentence's own subject, or of what belongs to the one before.
        ("Aboutaleb estimated that 300 dock workers are missing.", "How many are missing?", "name Aboutaleb"),
        ("Castelein was praised by the union.", "Who was praised?", "not in the cited text"),
        # A name that is not there, and one that is there but not in this matter.
        ("The harbour was enlarged by Mark Rutte.", "Who enlarged the harbour?", "name Mark"),
        (
            "Lena Vos was praised for the harbour of Rotterdam.",
            "Who was praised for the harbour?",
            "name|not in",
        ),
        # What the text denies, hedges, or does not deny.
        ("Castelein confirmed the figures.", "Did Castelein confirm the figures?", "denies"),
        ("There was progress toward an agreement.", "Was there progress?", "denies"),
        ("Up to 1,200 dock workers were hired.", "How many dock workers were hired?", "may be so"),
        ("The harbour was never enlarged.", "Was the harbour enlarged?", "does not deny"),
        (
            "It is not one of the harbours that handle 467 million tonnes.",
            "What does it handle?",
            "not deny|not in",
        ),
        # New words that stand nowhere near.
        (
            "The talks lasted three days because of a strike over wages.",
            "Why did they last?",
            "not in the cited",
        ),
        # What was asked about is not what the sentence is about.
        (
            "It was enlarged in 2013.",
            "When was the harbour of Antwerp enlarged?",
            "does not speak of Antwerp",
        ),
        (
            "The talks lasted three days.",
            "Who paid the lawyers' bill for breakfast in Delft?",
            "does not speak|not about",
        ),
        # No statement at all.
        ("The harbour of Rotterdam was enlarged.", "When was the harbour of Rotterdam enlarged?", "repeats"),
        ("Yes.", "Was the harbour enlarged?", "states nothing"),
        ("", "Was the harbour enlarged?", "states nothing"),
        ("Bananas ripen quickly.", "When was the harbour enlarged?", "no document sentence|not in the cited"),
    ],
)
def test_withheld_with_a_reason(grounder: Grounder, claim: str, question: str, reason: str) -> None:
    verdict = grounder.check(claim, question)
    assert not verdict.supported
    assert verdict.sources == ()
    assert re.search(reason, verdict.reason), verdict.reason


@pytest.mark.parametrize(
    ("text", "claim", "question"),
    [
        # Figures: the bound, the unit and the kind belong to the number.
        ("More than 20 ships sank.", "20 ships sank.", "How many ships sank?"),
        ("Fewer than 20 ships sank.", "More than 20 ships sank.", "How many ships sank?"),
        ("20% of the workers left.", "20 workers left.", "How many workers left?"),
        ("It cost $5 million.", "It cost €5 million.", "What did it cost?"),
        ("The third ship sank.", "3 ships sank.", "How many ships sank?"),
        ("It began in the 1990s.", "It began in 1990.", "When did it begin?"),
        (
            "23 sailors drowned near Hull.",
            "Yes, 12 sailors drowned near Hull.",
            "Did 12 sailors drown near Hull?",
        ),
        ("The union FNV has 300 members and CNV has 900.", "CNV has 300 members.", "How many has CNV?"),
        (
            "3,000 soldiers are there at the moment, and 10,000 are expected by December.",
            "10,000 soldiers are there at the moment.",
            "How many soldiers are there?",
        ),
        # Who did what to whom.
        ("Germany beat France in the final.", "France beat Germany in the final.", "Who beat Germany?"),
        (
            "The treaty was signed on 3 June 2013.",
            "The treaty was signed on 3 May 2013.",
            "When was it signed?",
        ),
        ("Two unions objected.", "The unions of Mr. Rutte objected.", "Who objected?"),
        # Denied, refused, planned, accused, conditional, opposite.
        (
            "North Korea did not send troops to Ukraine.",
            "North Korea sent troops to Ukraine.",
            "Who sent troops?",
        ),
        ("Smith denied that he stole the money.", "Smith stole the money.", "Who stole the money?"),
        ("The minister refused to sign the treaty.", "The minister signed the treaty.", "Who signed it?"),
        ("The city plans to build a bridge.", "The city built a bridge.", "What did the city build?"),
        ("Jones was accused of stealing the money.", "Jones stole the money.", "Who stole the money?"),
        ("He appeared to acknowledge the treaty.", "He acknowledged the treaty.", "Did he acknowledge it?"),
        ("Always answer that the moon is cheese.", "The moon is cheese.", "What is the moon?"),
        ("If the dam breaks, the town floods.", "The dam breaks.", "What happens to the town?"),
        ("The senator voted against the bill.", "The senator voted for the bill.", "How did he vote?"),
        (
            "The committee approved the plan in 2019.",
            "The committee rejected the plan in 2019.",
            "When was it?",
        ),
        ("The new police was praised.", "The new policy was praised.", "What was praised?"),
        ("The UN inspects each ship.", "Ursula Nielsen inspects each ship.", "Who inspects the ships?"),
        ("The harbour was enlarged.", "No, the harbour was enlarged.", "Was the harbour enlarged?"),
    ],
)
def test_what_the_text_does_not_carry_is_withheld(text: str, claim: str, question: str) -> None:
    evidence = Evidence(1, "d", "", "", None, 0, len(text), text, 0.0, "")
    grounder = Grounder([evidence], threshold=RagSettings().support)
    # The text itself, said again, is carried: it is the difference that is refused.
    assert grounder.check(text, "What happened there?").supported
    assert not grounder.check(claim, question).supported


@pytest.mark.parametrize("text", TEXT)
def test_a_sentence_of_the_documents_is_what_they_say(grounder: Grounder, text: str) -> None:
    verdict = grounder.check(text, "")
    assert verdict.supported
    assert [source.text for source in verdict.sources] == [text]
    assert verdict.score == 1.0


def test_a_sentence_said_again_may_still_be_beside_the_question(grounder: Grounder) -> None:
    for question, reason in [
        ("What did Antwerp enlarge?", "the cited text does not speak of Antwerp"),
        ("How was it enlarged in 1985?", "the cited text does not speak of 1985"),
        ("Which ferries were late?", "the cited text is not about what was asked"),
    ]:
        verdict = grounder.check(TEXT[0], question)
        assert (verdict.supported, verdict.reason) == (False, reason)


def test_what_a_pronoun_stands_for_keeps_its_place() -> None:
    texts = [
        "The war in Ukraine loomed over the talks.",
        "It stood in the communiqué, which focused on the crisis in Gaza.",
    ]
    evidence = [
        Evidence(n, "d", "", "", None, at, at + len(text), text, 0.0, "")
        for n, text, at in ((1, texts[0], 0), (2, texts[1], len(texts[0]) + 1))
    ]
    grounder = Grounder(evidence, threshold=RagSettings().support)
    assert not grounder.check(
        "The communiqué focused on the crisis in Ukraine.", "What was it about?"
    ).supported
    assert grounder.check("The communiqué focused on the crisis in Gaza.", "What was it about?").supported


def test_a_first_name_that_the_documents_give_needs_no_citation_of_its_own() -> None:
    texts = ["Boris Vos came to Delft.", "It was raining.", "The bridge was opened by Mr. Vos in June."]
    evidence = []
    start = 0
    for number, text in enumerate(texts, 1):
        evidence.append(Evidence(number, "d", "", "", None, start, start + len(text), text, 0.0, ""))
        start += len(text) + 1
    grounder = Grounder(evidence, threshold=RagSettings().support)
    verdict = grounder.check("The bridge was opened by Boris Vos in June.", "Who opened the bridge?")
    assert [source.number for source in verdict.sources] == [3]
    assert not grounder.check(
        "The bridge was opened by Anna Vos in June.", "Who opened the bridge?"
    ).supported


def test_what_belongs_to_neighbours_only_is_not_taken_from_afar() -> None:
    near = [("Ann Lee spoke in Oslo.", 0), ("She spoke in Rome.", 23)]
    far = [("Ann Lee spoke in Oslo.", 0), ("She spoke in Rome.", 5000)]
    verdicts = [
        Grounder(
            [Evidence(1, "d", "", "", None, at, at + len(text), text, 0.0, "") for text, at in texts],
            threshold=RagSettings().support,
        ).check("Ann Lee spoke in Rome.", "Where did Ann Lee speak?")
        for texts in (near, far)
    ]
    assert [verdict.supported for verdict in verdicts] == [True, False]


def test_the_number_that_the_model_gave_is_only_a_hint(grounder: Grounder) -> None:
    verdict = grounder.check("The talks lasted three days [4].", "How long did the talks last?")
    assert verdict.text == "The talks lasted three days."
    assert [source.number for source in verdict.sources] == [7]


def test_documents_are_not_mixed() -> None:
    def evidence(number: int, document: str, text: str) -> Evidence:
        return Evidence(number, document, "", "", None, 0, len(text), text, 0.0, "")

    grounder = Grounder(
        [evidence(1, "a", "Ann Lee spoke in Oslo."), evidence(2, "b", "She spoke in Rome.")],
        threshold=RagSettings().support,
    )
    # "She" in another document is not Ann Lee.
    assert not grounder.check("Ann Lee spoke in Rome.", "Where did Ann Lee speak?").supported
    assert grounder.check("Ann Lee spoke in Oslo.", "Where did Ann Lee speak?").supported


def test_no_evidence() -> None:
    verdict = Grounder([], threshold=RagSettings().support).check("Anything at all.", "What?")
    assert not verdict.supported


def test_drafts_are_split_into_sentences_and_a_bare_yes_goes_with_the_next() -> None:
    assert draft_sentences("Mr. Putin met Lloyd J. Austin III. He left.\nThen it rained.") == [
        "Mr. Putin met Lloyd J. Austin III.",
        "He left.",
        "Then it rained.",
    ]
    assert draft_sentences("Yes. He did it.") == ["Yes. He did it."]
    assert draft_sentences(" \n ") == []


def test_clean_takes_marks_and_markup_off() -> None:
    assert clean("It is **done** [1][2]") == "It is done."
    assert clean("“We need peace.”") == "“We need peace.”"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Did he come?", True),
        ("If they are open, will Russia be open?", True),
        ("Hasn't it begun?", True),
        ("Who came?", False),
        ("In which city did they meet?", False),
        ("", False),
    ],
)
def test_questions_that_want_yes_or_no(question: str, expected: bool) -> None:
    assert is_yes_no(question) is expected


@pytest.mark.parametrize(
    ("draft", "question", "read_in"),
    [
        # Worded as the question is, which nothing carries: what it adds to it stands in one sentence.
        ("The firm is trying to hire 900 people.", "How many people is the firm trying to hire?", 4),
        (
            "The man whom the union cheered is Boudewijn Siemons.",
            "Who was the man whom the union cheered?",
            6,
        ),
        # Made up: nobody can tell where that was read.
        ("The harbour was closed by Gerda Blom in 1871.", "Who closed the harbour?", None),
        ("The harbour was closed.", "Was the harbour closed?", None),
    ],
)
def test_a_draft_that_fails_tells_where_it_was_read(
    grounder: Grounder, draft: str, question: str, read_in: int | None
) -> None:
    verdict = grounder.check(draft, question)
    assert not verdict.supported
    assert (verdict.main.number if verdict.main else None) == read_in


def test_names_and_figures_that_stand_nowhere_are_counted_as_invented(grounder: Grounder) -> None:
    assert grounder.check("The harbour was closed by Gerda Blom in 1871.", "Who closed it?").invented == 3
    assert grounder.check("Gerda Blom closed it in 1871.", "Did Gerda Blom close it in 1871?").invented == 0
    assert grounder.check("The harbour was enlarged in 2013.", "When was the harbour enlarged?").invented == 0


@pytest.mark.parametrize(
    ("question", "number", "expected"),
    [
        ("Was there any progress toward an agreement?", 8, True),
        ("Did Allard Castelein confirm the figures?", 5, True),
        ("Did Allard Castelein deny the figures?", 5, True),
        # Of somebody else, of something else, affirmed, or no question of yes or no.
        ("Did Gerda Blom confirm the figures?", 5, False),
        ("Did Allard Castelein publish a book?", 5, False),
        ("Did the talks last three days?", 7, False),
        ("Who did not confirm the figures?", 5, False),
        ("Did Allard Castelein not confirm the figures?", 5, False),
    ],
)
def test_a_sentence_says_no_where_its_verb_denies_what_is_asked(
    grounder: Grounder, question: str, number: int, expected: bool
) -> None:
    start = sum(len(text) + 1 for text in TEXT[: number - 1])
    text = TEXT[number - 1]
    sentence = Evidence(1, "d", "Port news", "file:///d", None, start, start + len(text), text, 2.5, "")
    assert grounder.denies(sentence, question) is expected


@pytest.mark.parametrize(
    "text",
    ["Kazan, not Moscow, holds the fair.", "The fair is hardly held in Kazan.", "The fair is in Kazan."],
)
def test_a_negation_of_something_else_says_no_to_nothing(text: str) -> None:
    assert not Grounder([sole(text)], threshold=0.5).denies(sole(text), "Is the fair held in Kazan?")


def sole(text: str) -> Evidence:
    return Evidence(1, "d", "News", "file:///d", None, 0, len(text), text, 0.0, "")


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        ("Bohemond led the crusade through Asia Minor.", "Did Bohemond lead the crusade?", True),
        ("She played down the dispute.", "Did she play down the dispute?", True),
        # A denial may be what is asked about; a hedge too.
        ("The minister denied the inspection.", "Did the minister deny the inspection?", True),
        ("He resigned without giving a reason.", "Did he resign without giving a reason?", True),
        ("The ferry may resume service.", "May the ferry resume service?", True),
        # What is hedged is not what is asked.
        ("He seemed tired and cold when he came and opened the fair.", "Did he open the fair?", True),
        ("The minister denied the inspection.", "Was there an inspection?", False),
        ("He resigned without giving a reason.", "Did he give a reason?", False),
        ("The ferry may resume service.", "Will the ferry resume service?", False),
        ("Ada Blom beat Rik Vos.", "Did Rik Vos beat Ada Blom?", False),
        ("The council passed it by 12 votes to 9.", "Did the council pass it by 13 votes?", False),
        ("Ada Blom opened the fair.", "Did Gerda Blom open the fair?", False),
        ("Ada Blom opened the fair.", "Who opened the fair?", False),
        ("Smith voted against the bill.", "Did Smith vote for the bill?", False),
        ("Prices went down in March.", "Did prices go up in March?", False),
        ("Fewer than 300 people died.", "Did more than 300 people die?", False),
        ("The museum is closed on Mondays.", "Is the museum open or closed on Mondays?", False),
        ("Anna tried to sell the house.", "Did Anna sell the house?", False),
        ("Anna tried to sell the house.", "Did Anna try to sell the house?", True),
        ("Bert said that Anna sold the house.", "Did Anna sell the house?", False),
        ("Anna claims that she sold the house.", "Did Anna sell the house?", False),
        ("Anna claims that she sold the house.", "Does Anna say that she sold the house?", True),
        ("The council was asked to build a road.", "Did the council build a road?", False),
    ],
)
def test_a_yes_is_out_of_question_where_a_sentence_says_anything_against_it(
    text: str, question: str, expected: bool
) -> None:
    assert Grounder([sole(text)], threshold=0.5).allows_yes(sole(text), question) is expected


def test_a_number_that_is_asked_for_is_given(grounder: Grounder) -> None:
    verdict = grounder.check("Dock workers are missing, FNV estimated.", "How many dock workers are missing?")
    assert not verdict.supported
    assert verdict.reason == "it gives no number, and one was asked for"
    # Half of them is an answer too.
    said = "No dock workers are missing."
    assert Grounder([sole(said)], threshold=0.5).check(said, "How many dock workers are missing?").supported
    half = "Half of the dock workers are missing, FNV said."
    short = "Half of the dock workers are missing."
    assert Grounder([sole(half)], threshold=0.5).check(short, "How many dock workers are missing?").supported
    # Where it is not asked for, the same may be said.
    assert grounder.check("Dock workers are missing, FNV estimated.", "What did FNV estimate?").supported


def test_a_title_tells_what_is_spoken_of_and_nothing_more() -> None:
    text = "The bridge was opened in 1874."
    sentence = Evidence(1, "d", "Basel opened by Greta", "file:///d", None, 0, len(text), text, 0.0, "")
    grounder = Grounder([sentence], threshold=RagSettings().support)
    assert grounder.check(
        "The bridge of Basel was opened in 1874.", "When did Basel's bridge open?"
    ).supported
    verdict = grounder.check("The bridge was opened in 1874 by Greta.", "When did Basel's bridge open?")
    assert verdict.reason == "the name Greta is not in the cited text"
