"""The public signatures, written out: a change here is a change for users."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import ziprerank
from ziprerank import Page, PageNote, Pdf, RankedPage, Ranking, Reranker, Timings, Tokens

OPTIONS = (
    "top_k: 'int | None' = None, *, keep_ratio: 'float | None' = None, window: 'WindowOption' = 'auto', "
    "stride: 'int | None' = None, strategy: 'StrategyOption' = 'auto', first_stage: 'FirstStage' = 'auto', "
    "candidates: 'int | None' = None, instruction: 'str | None' = None, on_bad_page: 'OnBadPage' = 'raise', "
    "budget_ms: 'float | None' = None"
)
RUNNING = "progress: 'ProgressCallback | None' = None, cancel: 'Cancel | None' = None"
PAGES = "pages: 'PageInput | Sequence[PageInput]'"
SIGNATURES = {
    Reranker.from_bundle: "(path: 'str | Path | None' = None, *, provider: 'str' = 'cpu', threads: 'int' = 0, "
    "pool_bytes: 'int' = 1073741824, blank: 'Blank | None' = None, page_cache: 'str | Path | None' = None, "
    "page_cache_bytes: 'int' = 4294967296, check: 'Check' = 'full', page_workers: 'WorkersOption' = 'auto', "
    "page_timeout: 'float' = 20.0, page_memory_bytes: 'int' = 2147483648, max_prompt_tokens: 'int | None' = None) "
    "-> 'Reranker'",
    Reranker.rank: f"(self, query: 'str', {PAGES}, {OPTIONS}, {RUNNING}) -> 'Ranking'",
    Reranker.rank_many: f"(self, queries: 'Sequence[str]', {PAGES}, {OPTIONS}, {RUNNING}) -> 'list[Ranking]'",
    Reranker.plan: f"(self, query: 'str | None', {PAGES}, {OPTIONS}) -> 'RankingPlan'",
    Page: "(image: 'PageInput | None' = None, text: 'str | None' = None) -> None",
    Pdf: "(source: 'str | Path | bytes | bytearray | memoryview', pages: 'str | int | Iterable[int] | None' = None, "
    "password: 'str | None' = None) -> None",
}
FIELDS = {
    RankedPage: [
        "index",
        "score",
        "probability",
        "sigmoid",
        "rank",
        "kept",
        "tokens",
        "size",
        "source",
        "page",
        "warnings",
        "passes",
    ],
    Ranking: [
        "query",
        "results",
        "pages",
        "windows",
        "timings",
        "tokens",
        "warnings",
        "skipped",
        "first_stage",
        "strategy",
        "budget",
    ],
    PageNote: ["index", "source", "page", "text"],
    Timings: ["pages", "tokenize", "vision", "rerank", "total"],
    Tokens: ["text", "visual", "blank", "kept"],
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_signatures(function: object) -> None:
    assert str(inspect.signature(function)) == SIGNATURES[function]  # type: ignore[arg-type, index]


@pytest.mark.parametrize("record", FIELDS, ids=lambda record: record.__name__)
def test_records_are_frozen(record: type) -> None:
    assert list(record.__dataclass_fields__) == FIELDS[record]
    assert record.__dataclass_params__.frozen


def test_public_names() -> None:
    assert all(getattr(ziprerank, name) is not None for name in ziprerank.__all__)
    assert set(ziprerank.__all__) <= set(dir(ziprerank))
    with pytest.raises(AttributeError, match="has no attribute 'Ranker'"):
        ziprerank.Ranker  # noqa: B018


def test_the_sample_pdf_is_what_its_script_writes(sample: Path, tmp_path: Path) -> None:
    script, out = sample.with_name("make_sample_pdf.py"), tmp_path / "sample.pdf"
    subprocess.run([sys.executable, script, out], check=True)
    again = tmp_path / "again.pdf"
    subprocess.run([sys.executable, script, again], check=True)
    assert out.read_bytes() == again.read_bytes()
    assert out.stat().st_size == sample.stat().st_size


def test_the_example_runs(sample: Path) -> None:
    script = sample.with_name("rank_pdf.py")
    done = subprocess.run([sys.executable, script, "fish soup", sample], capture_output=True, text=True, check=True)
    assert [line.split(".")[0] for line in done.stdout.splitlines()] == ["1", "2", "3", "4", "5"]
