"""Ranks by late interaction: how well a checkpoint's vision tower reads without its decoder. Needs extra ``train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from ziprerank.train.data.examples import PageRef
from ziprerank.train.model.pixels import Sizes, load
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower

from .documents import located
from .queries import Query
from .systems import Locate, Run, by_document


def late_interaction(checkpoint: Path, queries: Sequence[Query], folder: Path, locate: Locate = located) -> Run:
    """Ranks pages by MaxSim (ColBERT, Khattab and Zaharia 2020) on the vectors that ZipRerank prunes by.

    A page's score is the sum, over the query's tokens, of the best cosine between the token's input embedding and a
    visual token of the page.
    """
    ranker = Ranker(checkpoint)
    tower, sizes = Tower.of(ranker), Sizes.of(ranker.checkpoint)
    table = F.normalize(ranker.table.weight.detach(), dim=-1)  # [V, H]
    run = Run(f"late interaction, tower of {checkpoint.name}", longest_side=sizes.longest_side)
    for file, asked in by_document(queries, folder, locate):
        print(f"{run.system}: {file.name}, {len(asked)} queries", flush=True)
        pages: dict[int, Tensor] = {}
        for query in asked:
            tokens = table[ranker.prompting.query_ids(query.query)]  # [T, H]
            scores = []
            for page in query.candidates:
                if page not in pages:
                    pages[page] = _read(tower, PageRef(file, page), sizes)
                scores.append(float((tokens @ pages[page].T).amax(1).sum()))
            run.add(query, scores)
    return run


@torch.inference_mode()
def _read(tower: Tower, page: PageRef, sizes: Sizes) -> Tensor:
    """Returns a page's visual tokens ``[n, H]`` with norm 1."""
    pixels = torch.from_numpy(load(page, sizes).copy())[None]
    state, _ = tower.hidden(tower.patches(pixels), tower.grid(pixels))
    return F.normalize(tower.tokens(state)[0], dim=-1)
