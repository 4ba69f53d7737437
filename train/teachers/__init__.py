"""Who says which order is right: BM25, a text embedder, a vision-language model behind an API."""
