"""txtai: Embeddings and RAG as its documentation shows them, over the article's paragraphs. Needs txtai and
llama-cpp-python."""

from __future__ import annotations

from importlib.metadata import version

from protocol import ANSWER_TOKENS, CONTEXT_TOKENS, arguments, serve
from txtai import LLM, RAG, Embeddings

TEMPLATE = """Answer the following question using the provided context.

Question:
{question}

Context:
{context}
"""


def main() -> None:
    model, embedder, text, threads = arguments()
    paragraphs = [part for part in text.split("\n") if part.strip()]
    embeddings = Embeddings(path=embedder, content=True, gpu=False)
    embeddings.index(paragraphs)
    llm = LLM(model, n_ctx=CONTEXT_TOKENS, n_threads=threads, n_threads_batch=threads, n_gpu_layers=0)
    rag = RAG(embeddings, llm, template=TEMPLATE, output="reference")

    def answer(question: str) -> tuple[str, list[str]]:
        found = rag(question, maxlength=ANSWER_TOKENS, temperature=0.0, defaultrole="user")
        return str(found["answer"]), [paragraphs[int(found["reference"])]]

    answer("ready")
    names = ("txtai", "llama_cpp_python")
    serve(answer, {name: version(name) for name in names}, text)


if __name__ == "__main__":
    main()
