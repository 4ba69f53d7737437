"""A sentence encoder ranks pages by their best passage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import save_encoder
from ziprerank.train.teachers.embedder import load_encoder

from bench.quality.encoder import STEP, WORDS, by_encoder, passages
from bench.quality.queries import Query
from bench.quality.text import Pages

SAMPLE = Path(__file__).parents[2] / "python" / "examples"
CANDIDATES = (4, 9, 16, 1)


@pytest.mark.parametrize("count", [0, 1, WORDS, WORDS + 1, WORDS + STEP, 3 * WORDS + 7])
def test_passages_hold_every_word_in_order(count: int) -> None:
    words = [f"word{number}" for number in range(count)]
    found = [passage.split() for passage in passages(" \n".join(words))]
    assert max(map(len, found)) == min(count, WORDS)
    for number, passage in enumerate(found):
        assert passage == words[number * STEP : number * STEP + WORDS]
    assert found[-1][-1:] == words[-1:]
    assert len(found) == 1 or len(found[-1]) > WORDS - STEP  # none says what another has said whole


def test_ranks_are_those_of_the_best_passage(tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path, most_tokens=256)
    queries = [Query("sample.pdf", "Dividend of the shareholders", "keywords", page, CANDIDATES) for page in CANDIDATES]
    run = by_encoder(queries, SAMPLE, encoder)
    assert run.system == f"{encoder.name} on the true text"
    assert run.page_ms is not None
    embed = load_encoder(encoder, most_tokens=256)
    texts = Pages.read(SAMPLE / "sample.pdf").texts
    asked = embed([queries[0].query])[0]
    best = []
    for page in CANDIDATES:
        cosines = [one @ asked / np.linalg.norm(one) / np.linalg.norm(asked) for one in embed(passages(texts[page]))]
        best.append(max(cosines))
    assert run.scores[0] == pytest.approx(best, abs=1e-5)
    assert sorted(run.ranks) == [1, 2, 3, 4]
