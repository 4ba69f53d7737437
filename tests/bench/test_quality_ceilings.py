"""What a tower should have read finds the pages of the sample that its text finds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ziprerank.train.data.page_store import MULTIPLE
from ziprerank.train.model.pixels import Sizes
from ziprerank.train.model.ranker import Ranker

from bench.quality.ceilings import ceilings, main, pictures, true_cells
from bench.quality.late import late_interaction
from bench.quality.queries import DEVELOPMENT, Query, read_queries, write_queries
from bench.quality.report import main as report
from bench.quality.report import markers

SAMPLE = Path(__file__).parents[2] / "python" / "examples"


def test_the_true_text_and_the_true_cells_find_more_than_the_tower_reads(
    monkeypatch: pytest.MonkeyPatch, default_checkpoint: Path
) -> None:
    monkeypatch.syspath_prepend(str(SAMPLE))
    titles = [chapter.title for chapter in importlib.import_module("report_text").CHAPTERS]
    everywhere = tuple(range(len(titles)))
    queries = [Query("sample.pdf", title, "title", page, everywhere) for page, title in enumerate(titles)]
    ranker = Ranker(default_checkpoint)
    runs = {run.system: run.ranks for run in ceilings(ranker, queries, SAMPLE)}
    assert list(runs) == ["read", "true cells", "true text"]
    first = {name: sum(rank == 1 for rank in ranks) for name, ranks in runs.items()}
    assert first["read"] <= first["true cells"]
    assert first["true cells"] >= 16, runs
    assert first["true text"] >= 16, runs
    # pages are read in grey here, in colour there, and the sample has some colour
    colour = late_interaction(default_checkpoint, queries, SAMPLE).ranks
    assert sum(abs(ours - theirs) <= 2 for ours, theirs in zip(runs["read"], colour, strict=True)) >= 14


def test_rows_and_tables_compare_each_system_with_bm25(tmp_path: Path, default_checkpoint: Path) -> None:
    queries = [Query("sample.pdf", "whale bird rats biologist", "keywords", 16, (4, 9, 16, 1))]
    asked, out, document = tmp_path / "asked.jsonl", tmp_path / "ceilings.jsonl", tmp_path / "page.md"
    write_queries(asked, queries)
    main(
        [
            *(str(out), "--documents", str(SAMPLE), "--queries", str(asked)),
            *("--checkpoint", str(default_checkpoint)),
        ]
    )
    begin, end = markers("ceilings")
    document.write_text(f"before\n{begin}old\n{end}after\n", encoding="utf-8")
    report([str(document), str(out)])
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{begin}")
    assert "old" not in text
    assert "| true text | 1.000 | 0.206 to 1.000 | 1.000 | 1.000 | 1.000 | +0.000 (+0.000 to +0.000) |" in text


def test_a_cell_is_the_mean_of_its_tokens() -> None:
    table = F.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), dim=-1)

    class Page:
        pixels = torch.zeros(2 * MULTIPLE, 2 * MULTIPLE).numpy()
        # two tokens side by side in the first cell, the wider one half as often; one in the last
        token_boxes = torch.tensor([[0, 4, 16, 20], [16, 4, 32, 20], [33, 36, 63, 52]]).float().numpy()
        tokens = torch.tensor([3, 5, 7], dtype=torch.int32).numpy()

    cells = true_cells(table, Page())  # type: ignore[arg-type]
    assert torch.allclose(cells, F.normalize(torch.stack([table[3] + table[5], table[7]]), dim=-1), atol=1e-6)


def test_the_development_queries_are_whole() -> None:
    queries = read_queries(DEVELOPMENT)
    assert len(queries) == 196
    assert {query.document for query in queries} == {
        "bashref.pdf",
        "gmsh.pdf",
        "manual.pdf",
        "ubuntu-packaging-guide.pdf",
    }
    assert all(len(query.candidates) == 20 for query in queries)


def test_pictures_are_as_large_as_the_bundle_makes_them() -> None:
    sizes = Sizes(factor=32, min_pixels=1024, max_pixels=1 << 22, longest_side=512, dpi=None)
    ((file, number, pixels, found),) = pictures([("sample.pdf", 4)], SAMPLE, sizes)
    assert (file.name, number, max(pixels.shape)) == ("sample.pdf", 4, 512)
    assert all(side % 32 == 0 for side in pixels.shape)
    assert len(found) > 20
