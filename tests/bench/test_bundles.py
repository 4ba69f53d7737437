"""Which bundles are compared: of each kind one of each precision, on the same pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from ziprerank.bundle import default_bundle
from ziprerank.comparison.bundles import blanks, load_bundles, with_pages_of
from ziprerank.comparison.cases import OURS_POINTWISE, Case
from ziprerank.comparison.ours import Ours
from ziprerank.errors import InvalidInput
from ziprerank.export import ExportOptions, export_checkpoint

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.fixture(scope="module")
def single(default_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ExportOptions(prompt="qwen3-vl-reranker")
    return export_checkpoint(str(default_checkpoint), tmp_path_factory.mktemp("yes-no") / "bundle", options)


def test_without_bundles_one_of_each_kind_is_exported(default_checkpoint: Path, tmp_path: Path) -> None:
    listwise, pointwise = load_bundles((), default_checkpoint, "cpu", tmp_path)
    assert [list(kind) for kind in (listwise, pointwise)] == [["fp32"], ["fp32"]]
    assert not listwise["fp32"].defaults.pointwise
    assert pointwise["fp32"].defaults.pointwise
    assert blanks(listwise["fp32"]) == ("drop", "keep")  # the checkpoint's own recommendations hold
    assert blanks(pointwise["fp32"]) == ("keep",)


def test_bundles_of_one_kind_differ_in_precision(single: Path, default_checkpoint: Path, tmp_path: Path) -> None:
    given = (default_checkpoint, "cpu", tmp_path)
    listwise, pointwise = load_bundles((single, default_bundle()), *given)
    assert (listwise["fp32"].path, pointwise["fp32"].path) == (default_bundle(), single)
    with pytest.raises(InvalidInput, match="are both fp32: give one of each precision"):
        load_bundles((single, default_bundle(), single), *given)
    with pytest.raises(InvalidInput, match="give one with letters too"):
        load_bundles((single,), *given)


def test_page_by_page_reads_the_same_pages(single: Path, default_checkpoint: Path, tmp_path: Path) -> None:
    listwise, pointwise = load_bundles((single, default_bundle()), default_checkpoint, "cpu", tmp_path)
    bundle = with_pages_of(listwise["fp32"], pointwise["fp32"])
    cases = [Case(SAMPLE, "annual meeting", (1, 2, 5), one) for one in (listwise["fp32"], bundle)]
    assert cases[0].visual_tokens() == cases[1].visual_tokens()
    assert [case.plan.passes for case in cases] == [1, 3]
    ours = Ours(cases[1], "fp32", "keep", "cpu", lambda: None)
    assert (ours.name, ours.keep_ratios) == (OURS_POINTWISE, (1.0,))
    for _ in range(2):  # an empty pool before each first query, all pages in it before a next one
        first, following = ours.first_query(1.0), ours.next_query(1.0)
        assert first.kept_tokens == following.kept_tokens == cases[0].visual_tokens()
