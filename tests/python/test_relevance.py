"""The first stage by relevance: what it computes, what it encodes, and when it picks the pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pdf_files import drawn_pdf
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from safetensors.numpy import load_file
from small_bundle import copy_default_bundle, copy_without_relevance
from ziprerank.errors import InvalidInput, PageError, ZipRerankError
from ziprerank.first_stage.stage import StageOptions, choose
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.profiling.meter import StepCount
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import WindowLike, load_engine
from ziprerank.runtime.open_window import OpenWindow

WORDS = ("soup", "engine", "harbour", "dividend", "violin", "glacier", "orchard", "census", "copper", "garden")
PAGES = 50
QUERY = "copper engine in the garden"


def draw(canvas: Canvas, page: int) -> None:
    canvas.setFont("Helvetica", 20)
    for line in range(1 + page % 7):
        canvas.drawString(10, 360 - 28 * line, f"{WORDS[(page + line) % 10]} {WORDS[(3 * page + line) % 10]} {page}")


def scanned(page: int) -> Image.Image:
    """Words as pixels: ink of another shape on every page."""
    ink = np.random.default_rng(page).integers(0, 2, (40 + page, 30)).astype(np.uint8) * 255
    return Image.fromarray(ink).convert("RGB")


class Torn:
    """A page that turns out to be bad when its pixels are asked for."""

    source, page, size = "torn", None, (64, 64)

    def prepare(self) -> None:
        raise PageError("torn", source="torn")

    picture = prepare


def pdf(pages: Sequence[int], scans: Sequence[int] = ()) -> bytes:
    def drawn(canvas: Canvas, page: int) -> None:
        if page in scans:
            canvas.drawImage(ImageReader(scanned(page)), 0, 0, 300, 400)
        else:
            draw(canvas, page)

    return drawn_pdf(partial(drawn, page=page) for page in pages)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "long.pdf"
    file.write_bytes(pdf(range(PAGES)))
    return file


@pytest.fixture(scope="module")
def ranking_bundle(small_pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that says that its relevance ranks."""
    out = Path(shutil.copytree(small_pages, tmp_path_factory.mktemp("ranks") / "bundle"))
    manifest = json.loads((out / "ziprerank.json").read_text())
    (out / "ziprerank.json").write_text(json.dumps(manifest | {"relevance": {"ranks": True}}))
    return out


@pytest.fixture(scope="module")
def ranks(ranking_bundle: Path) -> Iterator[Reranker]:
    with Reranker.from_bundle(ranking_bundle, threads=1) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def kinds() -> bytes:
    """30 pages of text and as many scans."""
    return pdf(range(60), range(30, 60))


def cosines(text: NDArray[np.float32], visual: NDArray[np.float32]) -> NDArray[np.float32]:
    """As kernels/reference.py defines them: float32, norms at least 1e-12. [T, N]."""
    rows = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (text, visual)]
    return np.asarray(rows[0] @ rows[1].T)


def test_relevance_is_the_sum_of_the_best_cosines(reranker: Reranker) -> None:
    """Pages of different sizes, a repeated token, and features as the engine keeps them."""
    bundle = reranker.bundle
    table = load_file(bundle.path / "model.safetensors")["model.language_model.embed_tokens.weight"]
    ids = np.array([7, 300, 300, 12, 4000], np.int64)
    pages = [np.random.default_rng(seed).integers(0, 256, (64 + 32 * seed, 96, 3), np.uint8) for seed in range(4)]
    info = reranker.engine.info
    window = load_engine(bundle).window([page.shape[:2] for page in pages])
    expected = []
    for slot, page in enumerate(pages):
        window.encode(slot, page)
        features = np.empty((window.tokens(slot), info["row_bytes"]), np.uint8)
        window.features(slot, features)
        visual = features.view(np.float32).reshape(-1, info["levels"], info["hidden_size"])[:, 0]
        expected.append(float(cosines(table[ids].astype(np.float32), visual).max(axis=1).sum()))
    found = window.relate(ids)
    window.close()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(found) > 0.01


def test_the_tokens_are_those_of_the_query_alone(reranker: Reranker) -> None:
    prompts = reranker.prompts
    ids = prompts.query_tokens(prompts.check_query(QUERY))
    whole = prompts.build(prompts.check_query(QUERY), 2).text_ids
    assert 5 <= len(ids) < len(whole) / 2
    longer = prompts.query_tokens(prompts.check_query(f"{QUERY} again"))
    assert ids.tolist() == longer[: len(ids)].tolist()
    assert len(longer) > len(ids)


def test_one_pass_over_the_best_by_relevance(reranker: Reranker, long: Path) -> None:
    ours = reranker.for_owner("one pass")
    ranking = ours.rank(QUERY, long, first_stage="relevance", candidates=12)
    assert (ranking.first_stage, ranking.windows, ranking.pages, len(ranking)) == ("relevance", 1, PAGES, PAGES)
    assert [page.passes for page in ranking] == [(1,)] * 12 + [()] * (PAGES - 12)
    scores = relevance_of(ours, long, QUERY)
    order = sorted(range(PAGES), key=lambda page: -scores[page])
    assert np.ptp(scores) > 0.05
    assert sorted(page.index for page in ranking[:12]) == sorted(order[:12])
    assert [page.index for page in ranking[12:]] == order[12:]
    assert [page.score for page in ranking] == sorted({page.score for page in ranking}, reverse=True)


def relevance_of(reranker: Reranker, file: Path, query: str) -> list[float]:
    """Each page's relevance, from windows of three pages."""
    ids = reranker.prompts.query_tokens(reranker.prompts.check_query(query))
    found: list[float] = []
    with open_pages(file, reranker.bundle.image) as sources:
        for start in range(0, len(sources), 3):
            group = sources[start : start + 3]
            window = reranker.engine.window([source.size for source in group])
            for slot, source in enumerate(group):
                window.encode(slot, source.prepare())
            found += window.relate(ids).tolist()  # type: ignore[attr-defined]
            window.close()
    return found


def test_the_next_query_encodes_and_renders_nothing(small_pages: Path, long: Path) -> None:
    rendered: list[int | None] = []

    def watch(stage: str, page: int | None) -> AbstractContextManager[object]:
        if stage == "render":
            rendered.append(page)
        return nullcontext()

    with Reranker.from_bundle(small_pages, threads=1) as reranker:
        reranker.watch = watch
        first = reranker.rank(QUERY, long, 5, first_stage="relevance")
        assert (reranker.engine.pool["misses"], sorted(rendered)) == (PAGES, list(range(PAGES)))
        again = reranker.rank(QUERY, long, 5, first_stage="relevance")
        other = reranker.rank("census of soup", long, 5, first_stage="relevance")
        assert (reranker.engine.pool["misses"], len(rendered)) == (PAGES, PAGES)
        assert [page.index for page in again] == [page.index for page in first]
        assert [page.index for page in other] != [page.index for page in first]
        reranker.for_owner("someone else").rank(QUERY, long, 5, first_stage="relevance")
        assert (reranker.engine.pool["misses"], len(rendered)) == (2 * PAGES, 2 * PAGES)


def test_more_pages_than_the_pool_holds(small_pages: Path, reranker: Reranker, long: Path) -> None:
    expected = reranker.rank(QUERY, long, first_stage="relevance", window=5, candidates=5)
    row_bytes = reranker.engine.info["row_bytes"]
    with Reranker.from_bundle(small_pages, threads=1, pool_bytes=5 * 96 * row_bytes) as ours:
        found = ours.rank_many([QUERY, QUERY], long, first_stage="relevance", window=5, candidates=5)
        assert ours.engine.pool["evictions"] > PAGES / 2
    for ranking in found:
        assert [page.index for page in ranking] == [page.index for page in expected]


def test_with_a_page_cache_the_pages_are_encoded_once(small_pages: Path, long: Path, tmp_path: Path) -> None:
    for misses in (PAGES, 0):
        with Reranker.from_bundle(small_pages, threads=1, page_cache=tmp_path / "cache") as ours:
            ranking = ours.rank(QUERY, long, 5, first_stage="relevance")
            assert ours.page_cache is not None
            assert ours.page_cache.stats()["misses"] == misses
    assert ranking.first_stage == "relevance"


def test_auto_goes_by_relevance_where_there_is_no_text_and_it_ranks(
    reranker: Reranker, ranks: Reranker, long: Path
) -> None:
    scans = pdf(range(30), range(30))
    assert ranks.rank(QUERY, scans, 5).first_stage == "relevance"
    assert ranks.rank(QUERY, long, 5).first_stage == "text"
    assert ranks.rank(QUERY, pdf(range(20), range(20)), 5).first_stage == "none"
    assert reranker.bundle.defaults.relevance_ranks is False
    assert reranker.rank(QUERY, scans, 5).first_stage == "none"


def test_text_and_scans_are_picked_each_by_its_own(ranks: Reranker) -> None:
    """Where scans would take more than half of the places, relevance picks among them."""
    scans = range(30, 60)
    ranking = ranks.rank(QUERY, pdf(range(60), scans), first_stage="text")
    read = {page.index for page in ranking if page.passes}
    assert (ranking.first_stage, ranking.windows) == ("text+relevance", 1)
    assert (len(read & set(range(30))), len(read & set(scans))) == (10, 10)
    assert sorted(page.index for page in ranking) == list(range(60))


def test_relevance_is_asked_for_pages_without_text_alone(reranker: Reranker) -> None:
    asked: list[list[int]] = []

    def relate(queries: Sequence[str], pages: Sequence[int]) -> list[list[float]]:
        asked.append(list(pages))
        return [[float(page % 7) for page in pages] for _ in queries]

    with open_pages(pdf(range(60), range(30, 60)), reranker.bundle.image) as sources:
        options = StageOptions("text", 8)
        (choice,) = choose(TextStore(), ["census"], sources, range(60), options, 20, relate=relate, ranks=True)
    assert asked == [list(range(30, 60))]
    assert list(choice.chosen[4:]) == [34, 41, 48, 55]  # those of 6, the lower index first
    assert (len(choice.chosen), len(choice.rest)) == (8, 52)


@pytest.mark.parametrize(("candidates", "texts", "scans"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (20, 10, 10)])
def test_each_kind_of_page_keeps_a_place(
    ranks: Reranker, kinds: bytes, candidates: int, texts: int, scans: int
) -> None:
    ranking = ranks.rank("census", kinds, first_stage="text", candidates=candidates)
    read = {page.index for page in ranking if page.passes}
    assert ranking.first_stage == "text+relevance"
    assert (len(read & set(range(30))), len(read & set(range(30, 60)))) == (texts, scans)


def test_few_pages_with_text_leave_their_places_to_the_others(ranks: Reranker) -> None:
    ranking = ranks.rank("copper engine", pdf(range(60), range(4, 60)), first_stage="text")
    read = {page.index for page in ranking if page.passes}
    assert (ranking.first_stage, len(read), len(read & {0, 1, 2, 3})) == ("text+relevance", 20, 4)
    assert ranks.rank(QUERY, pdf(range(60), range(60)), 5, first_stage="text").first_stage == "relevance"


def test_relevance_picks_for_a_query_that_is_on_no_page(ranks: Reranker, reranker: Reranker, long: Path) -> None:
    found = ranks.rank_many(["zeppelin", QUERY, "zeppelin"], long)
    assert [ranking.first_stage for ranking in found] == ["relevance", "text", "relevance"]
    assert [sum(bool(page.passes) for page in ranking) for ranking in found] == [20, 20, 20]
    assert [page.index for page in found[0]] == [page.index for page in found[2]]
    alone = ranks.rank("zeppelin", long, first_stage="relevance")
    assert [page.index for page in found[0]] == [page.index for page in alone]
    assert reranker.rank("zeppelin", long, 5).first_stage == "none"


def test_a_query_that_is_on_no_page_beside_scans(ranks: Reranker, kinds: bytes) -> None:
    found = ranks.rank_many(["zeppelin", "census"], kinds, first_stage="text")
    assert [ranking.first_stage for ranking in found] == ["relevance", "text+relevance"]
    assert sorted(page.index for page in found[0]) == list(range(60))


def test_few_pages_are_all_read(reranker: Reranker, long: Path) -> None:
    assert reranker.rank(QUERY, long, 5, first_stage="relevance", candidates=PAGES).first_stage == "none"


def test_a_page_that_cannot_be_shown_is_skipped(reranker: Reranker, long: Path) -> None:
    steps: list[tuple[int, int]] = []
    given = [long, Torn(), Torn()]
    ranking = reranker.rank(
        QUERY,
        given,  # type: ignore[arg-type]
        first_stage="relevance",
        on_bad_page="skip",
        progress=lambda *step: steps.append(step),
    )
    assert [note.index for note in ranking.skipped] == [PAGES, PAGES + 1]
    assert (ranking.pages, ranking.first_stage) == (PAGES, "relevance")
    assert all(done <= total for done, total in steps)
    assert steps[-1][0] == steps[-1][1]
    with pytest.raises(PageError, match="torn"):
        reranker.rank(QUERY, given, first_stage="relevance")  # type: ignore[arg-type]


def test_bad_pages_have_no_page_related_twice(reranker: Reranker, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    over = OpenWindow.over

    def counted(self: OpenWindow, indices: Sequence[int], *more: Any) -> WindowLike:
        groups.append(len(indices))
        return over(self, indices, *more)

    monkeypatch.setattr(OpenWindow, "over", counted)
    torn = b"%PDF-1.4 torn"
    given = [Pdf(long, pages="1-5"), Torn(), Pdf(long, pages="6-44"), Torn(), Pdf(long, pages="45-50"), torn]
    ranking = reranker.rank(QUERY, given, first_stage="relevance", on_bad_page="skip")  # type: ignore[list-item]
    assert [note.index for note in ranking.skipped] == [5, 45, 52]
    assert groups == [20, 20, 20, 11, 10, 20]  # to the first bad page, to the second, the rest of its group, the pass


def test_progress_counts_the_pages_that_are_related(reranker: Reranker, long: Path) -> None:
    steps: list[tuple[int, int]] = []
    reranker.rank(QUERY, long, 5, first_stage="relevance", progress=lambda *step: steps.append(step))
    assert steps[-1] == (PAGES + 21, PAGES + 21)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.parametrize("bad", [False, True])
def test_progress_counts_pages_that_are_related_to_several_queries_once(
    reranker: Reranker, long: Path, bad: bool
) -> None:
    steps: list[tuple[StepCount, StepCount]] = []
    given = [Pdf(long, pages="1-30"), *[Torn()] * bad, Pdf(long, pages="31-50")]
    reranker.rank_many(
        [QUERY, "census of soup", "glacier"],
        given,  # type: ignore[arg-type]
        first_stage="relevance",
        on_bad_page="skip",
        progress=lambda *step: steps.append(step),
    )
    totals = list(dict.fromkeys((total.pages, total.passes) for _, total in steps))
    assert totals == [(PAGES + 1 + 60, 3)] * bad + [(PAGES + 60, 3)]  # 20 pages and a pass for each query
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == steps[-1][1]


def test_progress_of_queries_by_text_and_by_relevance(ranks: Reranker, kinds: bytes) -> None:
    """The scans are related to one query, and all pages to the other."""
    steps: list[tuple[StepCount, StepCount]] = []
    queries = ["census", "zeppelin"]
    ranks.rank_many(queries, kinds, first_stage="text", candidates=2, progress=lambda *step: steps.append(step))
    assert all(done <= total for done, total in steps)
    assert (steps[-1][0].pages, steps[-1][0].passes) == (60 + 4, 2)


def test_a_bundle_without_the_graph(small_pages: Path, long: Path, tmp_path: Path) -> None:
    """As older exports are: everything else works, and what is asked for is refused by name."""
    old = copy_without_relevance(small_pages, tmp_path / "old")
    with Reranker.from_bundle(old, threads=1) as ours:
        assert ours.rank(QUERY, pdf(range(24), range(24)), 1).first_stage == "none"
        assert ours.rank(QUERY, long, 1).first_stage == "text"
        with pytest.raises(InvalidInput, match=r"no relate\.onnx.*export the bundle again"):
            ours.rank(QUERY, long, 1, first_stage="relevance")
        with Reranker.from_bundle(small_pages, threads=1) as new:
            scores = [[page.score for page in one.rank(QUERY, long, first_stage="none")] for one in (ours, new)]
        assert scores[0] == scores[1]
        assert len(set(scores[0])) > 1


def test_the_graph_is_opened_at_its_first_use(small_pages: Path, long: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copytree(small_pages, tmp_path / "torn"))
    size = (torn / "relate.onnx").stat().st_size
    fields = b"\0\x80\0"[: 3 * (size % 2)]  # of three bytes where the others, of two each, leave one over
    (torn / "relate.onnx").write_bytes(fields + b"\0" * (size - len(fields)))
    with Reranker.from_bundle(torn, threads=1, check="size") as ours:
        assert ours.rank(QUERY, long, 1, first_stage="none").first_stage == "none"
        with pytest.raises(ZipRerankError, match=r"relate\.onnx"):
            ours.rank(QUERY, long, 1, first_stage="relevance")


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "no token ids"), ([-1], "token id -1 is outside"), ([1 << 40], "is outside 0 to")],
)
def test_bad_tokens_are_refused(reranker: Reranker, ids: list[int], message: str) -> None:
    window = reranker.engine.window([(64, 64)])
    relate: Callable[[NDArray[np.int64]], object] = window.relate  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="slot 0 has no page yet"):
        relate(np.array([1], np.int64))
    window.encode(0, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InvalidInput, match=message):
        relate(np.array(ids, np.int64))
    window.close()


def test_pages_of_larger_bundles_are_related_too(tmp_path: Path) -> None:
    """At another resolution the same pages have other tokens."""
    bundle = copy_default_bundle(tmp_path / "larger", 480)
    with Reranker.from_bundle(bundle, threads=1) as ours:
        assert ours.rank(QUERY, pdf(range(22)), 3, first_stage="relevance", candidates=4).first_stage == "relevance"
