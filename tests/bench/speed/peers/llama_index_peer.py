"""LlamaIndex: CitationQueryEngine as it comes. Needs llama-index-core, llama-index-llms-llama-cpp,
llama-index-embeddings-huggingface."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.llms.llama_cpp import LlamaCPP
from protocol import ANSWER_TOKENS, CONTEXT_TOKENS, arguments, serve


def main() -> None:
    model, embedder, text, threads = arguments()

    def chat(messages: Sequence[ChatMessage]) -> str:
        """By the model's own template, which LlamaIndex does not look for."""
        data = llm._model.metadata
        template = Jinja2ChatFormatter(template=data["tokenizer.chat_template"], eos_token="", bos_token="")
        turns = [{"role": one.role.value, "content": one.content or ""} for one in messages]
        return str(template(messages=turns).prompt)

    llm = LlamaCPP(
        model_path=model,
        temperature=0.0,
        max_new_tokens=ANSWER_TOKENS,
        context_window=CONTEXT_TOKENS,
        model_kwargs={"n_threads": threads, "n_threads_batch": threads},
        messages_to_prompt=chat,
        completion_to_prompt=lambda prompt: chat([ChatMessage(role="user", content=prompt)]),
        verbose=False,
    )
    Settings.llm = llm
    Settings.embed_model = HuggingFaceEmbedding(model_name=embedder, device="cpu")
    engine = CitationQueryEngine.from_args(VectorStoreIndex.from_documents([Document(text=text)]))

    def answer(question: str) -> tuple[str, list[str]]:
        response = engine.query(question)
        sources = [node.node.get_content().partition(":\n")[2] for node in response.source_nodes]
        return str(response), sources

    names = ("llama-index-core", "llama-index-llms-llama-cpp", "llama_cpp_python")
    serve(answer, {name: version(name) for name in names}, text)


if __name__ == "__main__":
    main()
