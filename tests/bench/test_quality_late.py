"""Late interaction ranks as transformers' own tower and a plain double loop do."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity
from ziprerank import Pdf, Reranker
from ziprerank.inputs.pages import open_pages
from ziprerank.train.model.ranker import Ranker

from bench.quality.late import late_interaction
from bench.quality.queries import Query

SAMPLE = Path(__file__).parents[2] / "python" / "examples"
CANDIDATES = (4, 9, 16, 1)


@pytest.mark.parametrize("page", [9, 1])
def test_ranks_are_those_of_the_best_cosines(page: int, default_checkpoint: Path) -> None:
    query = Query("sample.pdf", "Dividend of the shareholders", "keywords", page, CANDIDATES)
    run = late_interaction(default_checkpoint, [query], SAMPLE)

    ranker = Ranker(default_checkpoint)  # of the bundle whose image rules are used
    tokenizer = Tokenizer.from_file(str(default_checkpoint / "tokenizer.json"))
    ids = tokenizer.encode(" dividend of the shareholders", add_special_tokens=False).ids
    table, scores = ranker.table.weight.detach(), []
    with open_pages(
        Pdf(SAMPLE / "sample.pdf", [number + 1 for number in CANDIDATES]), Reranker.from_bundle().bundle.image
    ) as pages:
        for shown in pages:
            with torch.no_grad():
                visual = ranker.encode(shown.prepare().copy()).tokens
            best = [max(float(cosine_similarity(table[token], one, dim=0)) for one in visual) for token in ids]
            scores.append(sum(best))
    right = scores[CANDIDATES.index(page)]
    assert run.ranks == [1 + sum(score > right for score in scores)]


def test_the_committed_reader_reads(reader_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks for each of the sample's 18 pages by its title: chance ranks one first, and the reader ranked nine first."""
    monkeypatch.syspath_prepend(str(SAMPLE))
    titles = [chapter.title for chapter in importlib.import_module("report_text").CHAPTERS]
    everywhere = tuple(range(len(titles)))
    queries = [Query("sample.pdf", title, "title", page, everywhere) for page, title in enumerate(titles)]
    ranks = late_interaction(reader_checkpoint, queries, SAMPLE).ranks
    assert len(ranks) == 18
    assert sum(rank == 1 for rank in ranks) >= 6, ranks
    assert sum(rank <= 3 for rank in ranks) >= 10, ranks
