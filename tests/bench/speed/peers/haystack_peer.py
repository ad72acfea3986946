"""Haystack: the pipeline of its tutorials, with numbers to cite by. Needs haystack-ai, llama-cpp-haystack,
sentence-transformers-haystack."""

from __future__ import annotations

from importlib.metadata import version

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from haystack_integrations.components.generators.llama_cpp import LlamaCppChatGenerator
from protocol import ANSWER_TOKENS, CONTEXT_TOKENS, arguments, serve

TEMPLATE = """Given the following information, answer the question. Cite the documents by number, as [1].

Context:
{% for document in documents %}
[{{ loop.index }}] {{ document.content }}
{% endfor %}

Question: {{question}}
Answer:"""


def main() -> None:
    model, embedder, text, threads = arguments()
    store = InMemoryDocumentStore()
    indexing = Pipeline()
    reader = SentenceTransformersDocumentEmbedder(model=embedder, progress_bar=False)
    indexing.add_component("splitter", DocumentSplitter())
    indexing.add_component("embedder", reader)
    indexing.connect("splitter", "embedder")
    embedded = indexing.run({"splitter": {"documents": [Document(content=text)]}})["embedder"]["documents"]
    store.write_documents(embedded)

    asking = Pipeline()
    asking.add_component("embedder", SentenceTransformersTextEmbedder(model=embedder, progress_bar=False))
    asking.add_component("retriever", InMemoryEmbeddingRetriever(document_store=store))
    asking.add_component(
        "prompt", ChatPromptBuilder(template=[ChatMessage.from_user(TEMPLATE)], required_variables="*")
    )
    asking.add_component(
        "llm",
        LlamaCppChatGenerator(
            model=model,
            n_ctx=CONTEXT_TOKENS,
            model_kwargs={"n_threads": threads, "n_threads_batch": threads, "verbose": False},
            generation_kwargs={"max_tokens": ANSWER_TOKENS, "temperature": 0.0},
        ),
    )
    asking.connect("embedder.embedding", "retriever.query_embedding")
    asking.connect("retriever.documents", "prompt.documents")
    asking.connect("prompt.prompt", "llm.messages")

    def answer(question: str) -> tuple[str, list[str]]:
        asked = {"embedder": {"text": question}, "prompt": {"question": question}}
        found = asking.run(asked, include_outputs_from={"retriever"})
        sources = [document.content for document in found["retriever"]["documents"]]
        return found["llm"]["replies"][0].text, sources

    answer("ready")  # components load what they need at their first run
    names = ("haystack-ai", "llama-cpp-haystack", "llama_cpp_python")
    serve(answer, {name: version(name) for name in names}, text)


if __name__ == "__main__":
    main()
