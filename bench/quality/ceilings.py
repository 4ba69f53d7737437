"""Where recall is lost: one comparison on what a tower reads, on what it should read, and on the true text.

    python -m bench.quality.fetch FOLDER --development
    python -m ziprerank.train.checkpoint default CHECKPOINT
    python -m bench.quality.ceilings OUT.jsonl --documents FOLDER --checkpoint CHECKPOINT [--queries FILE]

Every system but BM25 scores a page by MaxSim (bench/quality/late.py): the sum, over the query's tokens, of the best
cosine between the token's input embedding and a vector of the page.
The systems differ in the vectors of a page:

- `read`: the tower's visual tokens.
- `true cells`: for each visual token with text, the mean embedding of the tokens under it, weighted by the share of
  their width that lies there. A tower that reads without an error would say this, so `read` loses to it by misreading.
- `true text`: the embedding of every token of the page. `true cells` loses to it by the coarse grid, and it loses to
  BM25 by the comparison.

Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from ziprerank.comparison import machine
from ziprerank.train.data.cells import token_cells
from ziprerank.train.data.page_store import MULTIPLE, PageStore, StoredPage, write_store
from ziprerank.train.data.pdf_text import Word, render, words
from ziprerank.train.model.pixels import Sizes
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower

from .documents import located
from .queries import DEVELOPMENT, Query, read_queries
from .report import summary
from .run import rows_of
from .systems import Run, bm25

Vectors = Callable[[StoredPage], Tensor]
"""Maps a page to its vectors ``[n, H]`` of norm 1."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ranks and writes the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.ceilings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--queries", type=Path, default=DEVELOPMENT, help="default: development.jsonl")
    parser.add_argument("--checkpoint", type=Path, required=True, help="whose tower reads")
    options = parser.parse_args(arguments)
    queries = read_queries(options.queries)
    runs = [bm25(queries, options.documents), *ceilings(Ranker(options.checkpoint), queries, options.documents)]
    common = {"what": "ceilings", "queries": options.queries.name, "checkpoint": options.checkpoint.name}
    rows = [
        {**row, **common, **machine.describe()}
        for number, run in enumerate(runs)
        for row in rows_of(run, runs[:number], queries)
    ]
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(summary(rows))


def ceilings(ranker: Ranker, queries: Sequence[Query], folder: Path) -> list[Run]:
    """Returns a run for each kind of vectors, on pages of the size that the checkpoint's bundle renders."""
    sizes = Sizes.of(ranker.checkpoint)
    tower, table = Tower.of(ranker), F.normalize(ranker.table.weight.detach(), dim=-1)
    kinds: dict[str, Vectors] = {
        "read": lambda page: read(tower, page),
        "true cells": lambda page: true_cells(table, page),
        "true text": lambda page: table[torch.from_numpy(np.unique(page.tokens)).long()],
    }
    keys = sorted({(query.document, page) for query in queries for page in query.candidates})
    tokenizer = Tokenizer.from_file(str(ranker.checkpoint.tokenizer_file))
    with tempfile.TemporaryDirectory() as work:
        write_store(Path(work), pictures(keys, folder, sizes), tokenizer, len(keys))
        store = PageStore(Path(work))
        pages = {key: store[number] for number, key in enumerate(keys)}
        return [late_run(name, ranker, table, queries, pages, vectors) for name, vectors in kinds.items()]


def pictures(
    keys: Sequence[tuple[str, int]], folder: Path, sizes: Sizes
) -> Iterator[tuple[Path, int, NDArray[np.uint8], list[Word]]]:
    """Yields the file, number, grey pixels ``[h, w]`` and words of each (document, page) of ``keys``."""
    for name in dict.fromkeys(name for name, _ in keys):
        file = located(folder, name)
        with pdfium.PdfDocument(file) as document:
            for number in (page for document_name, page in keys if document_name == name):
                sheet = document[number]
                width, height = sheet.get_size()
                scale = sizes.longest_side / max(width, height)
                scale = scale if sizes.dpi is None else min(scale, sizes.dpi / 72)
                shape = sizes.smart(max(1, round(height * scale)), max(1, round(width * scale)))
                yield file, number, render(sheet, *shape), words(sheet, *shape)
                sheet.close()


@torch.inference_mode()
def late_run(
    name: str,
    ranker: Ranker,
    table: Tensor,
    queries: Sequence[Query],
    pages: dict[tuple[str, int], StoredPage],
    vectors: Vectors,
) -> Run:
    """Ranks pages by MaxSim on ``vectors`` of each."""
    run = Run(name)
    known = {key: vectors(page) for key, page in pages.items()}
    for query in queries:
        tokens = table[ranker.prompting.query_ids(query.query)]  # [T, H]
        found = [known[query.document, page] for page in query.candidates]
        run.add(query, [float((tokens @ vector.T).amax(1).sum()) if len(vector) else -np.inf for vector in found])
    return run


@torch.inference_mode()
def read(tower: Tower, page: StoredPage) -> Tensor:
    """Returns the tower's visual tokens ``[n, H]`` with norm 1."""
    pixels = torch.from_numpy(np.array(page.pixels))[None]
    state, _ = tower.hidden(tower.patches(pixels), tower.grid(pixels))
    return F.normalize(tower.tokens(state)[0], dim=-1)


def true_cells(table: Tensor, page: StoredPage) -> Tensor:
    """Returns what an errorless tower would say of the cells with text, ``[n, H]`` with norm 1.

    Args:
        table: token embeddings ``[vocabulary, H]`` with norm 1.
        page: with its text.
    """
    rows, cols = (side // MULTIPLE for side in page.pixels.shape)
    which, cell, share = token_cells(page.token_boxes, rows, cols)
    known = table[torch.from_numpy(page.tokens[which]).long()] * torch.from_numpy(share)[:, None]
    sums = torch.zeros(rows * cols, table.shape[1]).index_add_(0, torch.from_numpy(cell), known)
    return F.normalize(sums[torch.from_numpy(np.unique(cell))], dim=-1)


if __name__ == "__main__":
    main()
