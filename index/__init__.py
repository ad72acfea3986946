"""Text in, passages out: readers, sentences, embeddings, the catalogue and the vector index."""
