"""What other APIs for reranking send and expect, turned into our own request and made from our own answer."""
