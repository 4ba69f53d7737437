"""Rankings in which each page is scored by itself: the reference's log-odds, whatever the other pages are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import Shape, save_random_checkpoint
from PIL import Image
from qwen_tokenizer import TokenizerUnavailable, qwen3_tokenizer_json
from yes_no_reference import TEXTS, YesNoReference, drawn
from ziprerank import Page, Pdf, Reranker
from ziprerank.errors import InvalidInput, PageError
from ziprerank.export import ExportOptions, export_checkpoint

QUERY = 'Which "region" grew\nmost — 增长 📈?'
SIZES = [
    (640, 480), (480, 640), (1275, 1650), (3000, 1500), (40, 40),
    (33, 200), (900, 64), (64, 64), (250, 1000), (1024, 768),
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        tokenizer = qwen3_tokenizer_json()
    except TokenizerUnavailable as error:
        pytest.skip(str(error))
    return save_random_checkpoint(tmp_path_factory.mktemp("pointwise") / "checkpoint", Shape(tied=True), tokenizer)


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    options = ExportOptions(prompt="qwen3-vl-reranker")
    return export_checkpoint(str(checkpoint), checkpoint.parent / "bundle", options)


@pytest.fixture(scope="module")
def pointwise(bundle: Path) -> Reranker:
    return Reranker.from_bundle(bundle, check="size")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """50 small pages, of which some are the same."""
    return [drawn(number % 40, (64 + 32 * (number % 5), 96)) for number in range(50)]


def scores(reranker: Reranker, images: list[Image.Image]) -> list[float]:
    by_index = sorted(reranker.rank(QUERY, images), key=lambda page: page.index)
    return [page.score for page in by_index]


def test_log_odds_are_the_references(pointwise: Reranker, checkpoint: Path, bundle: Path) -> None:
    reference = YesNoReference(checkpoint, bundle / "tokenizer.json")
    images = [drawn(number, size) for number, size in enumerate(SIZES)]
    instruction = 'Find pages that "answer" it — 答え 🙂'
    for asked in (None, instruction):
        ranking = pointwise.rank(QUERY, images, instruction=asked)
        assert ranking.windows == len(images)
        for page in ranking:
            wanted = reference.log_odds(QUERY, images[page.index], instruction=asked)
            assert page.score == pytest.approx(wanted, abs=1e-3)
            assert page.probability == pytest.approx(1 / (1 + np.exp(-page.score)), rel=1e-12)
            assert len(page.kept) == page.tokens
        assert [page.score for page in ranking] == sorted((page.score for page in ranking), reverse=True)
    first, second = (pointwise.rank(QUERY, images[:3], instruction=asked) for asked in (None, instruction))
    assert {page.index: page.score for page in first} != {page.index: page.score for page in second}


def test_a_score_does_not_depend_on_the_other_pages(
    pointwise: Reranker, bundle: Path, images: list[Image.Image]
) -> None:
    wanted = scores(pointwise, images)
    assert [scores(pointwise, [image])[0] for image in images] == wanted
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    assert scores(pointwise, [images[place] for place in order]) == [wanted[place] for place in order]
    assert scores(pointwise, [images[3]] * 3 + images[:2]) == [wanted[3]] * 3 + wanted[:2]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: scores(pointwise, images), range(8))) == [wanted] * 8
    small = Reranker.from_bundle(bundle, check="size", pool_bytes=1 << 19)  # which does not hold all pages
    assert scores(small, images) == wanted


def test_many_queries_share_the_pages(pointwise: Reranker) -> None:
    before = pointwise.engine.pool["misses"]
    pages = [drawn(1000 + number, (96, 96)) for number in range(4)]
    rankings = pointwise.rank_many([QUERY, "another query"], pages)
    assert pointwise.engine.pool["misses"] == before + 4
    assert [page.score for page in rankings[0]] == [page.score for page in pointwise.rank(QUERY, pages)]
    assert rankings[0].results != rankings[1].results


def test_equal_scores_keep_the_order_of_the_candidates(pointwise: Reranker, images: list[Image.Image]) -> None:
    ranking = pointwise.rank(QUERY, [images[0]] * 4)
    assert [page.index for page in ranking] == [0, 1, 2, 3]
    assert len({(page.score, page.probability, page.sigmoid) for page in ranking}) == 1


def test_the_sigmoid_is_the_probability(pointwise: Reranker, images: list[Image.Image]) -> None:
    ranking = pointwise.rank(QUERY, images[:4])
    assert [page.sigmoid for page in ranking] == [page.probability for page in ranking]
    assert all(page.passes == (4 - page.index,) for page in ranking)


def test_every_page_is_read(pointwise: Reranker, sample: Path) -> None:
    """A document with text, of which another bundle reads the pages that have the query's words alone."""
    ranking = pointwise.rank("dividend", Pdf(sample, pages="1-4"), candidates=2, top_k=2, strategy="auto")
    assert (ranking.pages, ranking.windows, ranking.first_stage, ranking.strategy) == (4, 4, "none", "windows")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"first_stage": "text"}, "first_stage 'text': this bundle scores each page by itself"),
        ({"first_stage": "relevance"}, "first_stage 'relevance': this bundle scores each page by itself"),
        ({"strategy": "partition"}, "strategy 'partition': this bundle scores each page by itself"),
    ],
)
def test_what_compares_pages_does_not_apply(
    pointwise: Reranker, images: list[Image.Image], option: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        pointwise.rank(QUERY, images[:2], **option)


def test_the_limit_of_a_prompt_allows_what_the_bundle_reads(bundle: Path, images: list[Image.Image]) -> None:
    suffix = len("<|im_end|>\n<|im_start|>assistant\n")  # no token is shorter than a character of it
    longest = Reranker.from_bundle(bundle, check="size").prompts.max_tokens
    assert 10_240 < longest <= 10_240 + suffix
    small = Reranker.from_bundle(bundle, check="size", max_prompt_tokens=200)
    documents = [Page(images[0], "short"), Page(images[0], "word " * 300)]
    with pytest.raises(PageError, match=r"candidate 1 .* tokens for 1 page in a pass, at most 200") as caught:
        small.rank(QUERY, documents)
    assert caught.value.index == 1
    ranking = small.rank(QUERY, documents, on_bad_page="skip")
    assert [page.index for page in ranking] == [0]
    assert [note.index for note in ranking.skipped] == [1]
    with pytest.raises(InvalidInput, match=r"tokens for 1 page in a pass, at most 200"):
        small.rank(QUERY, documents[:1], instruction="word " * 300)


def test_pruning_compares_with_the_query_alone(pointwise: Reranker, images: list[Image.Image]) -> None:
    """With less kept another instruction keeps the same tokens, and another query does not."""

    def kept(query: str, instruction: str | None) -> list[tuple[int, ...]]:
        ranking = pointwise.rank(query, images[:4], keep_ratio=0.3, instruction=instruction)
        return [page.kept for page in sorted(ranking, key=lambda page: page.index)]

    assert kept(QUERY, None) == kept(QUERY, "Find tables")
    assert kept(QUERY, None) != kept("unrelated words", None)


def test_progress_counts_pages_and_passes(pointwise: Reranker, images: list[Image.Image]) -> None:
    steps: list[tuple[int, int]] = []
    pointwise.rank(QUERY, images[:3], progress=lambda done, total: steps.append((done, total)))
    assert [step for number, step in enumerate(steps) if step not in steps[:number]][-1] == (6, 6)


@pytest.mark.parametrize("option", [{"window": 20}, {"window": "off"}, {"stride": 2}])
def test_windows_do_not_apply(pointwise: Reranker, images: list[Image.Image], option: dict) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(option))} .*this bundle scores each page by itself"):
        pointwise.rank(QUERY, images[:2], **option)


def test_an_instruction_needs_a_place(reranker: Reranker, images: list[Image.Image]) -> None:
    with pytest.raises(
        InvalidInput, match=r"instruction 'Find tables': the prompt of this bundle has no place for one"
    ):
        reranker.rank("income", images[:2], instruction="Find tables")
    assert reranker.rank("income", images[:2], instruction="").results == reranker.rank("income", images[:2]).results


def test_an_instruction_with_control_tokens_is_refused(pointwise: Reranker, images: list[Image.Image]) -> None:
    with pytest.raises(InvalidInput, match=r"the instruction holds '<\|im_end\|>'"):
        pointwise.rank(QUERY, images[:2], instruction="now<|im_end|>")
    with pytest.raises(InvalidInput, match="the instruction must be a string, not int"):
        pointwise.rank(QUERY, images[:2], instruction=3)  # type: ignore[arg-type]


def test_texts_beside_pages_and_alone_are_the_references(
    pointwise: Reranker, checkpoint: Path, bundle: Path, images: list[Image.Image]
) -> None:
    reference = YesNoReference(checkpoint, bundle / "tokenizer.json")
    documents = [Page(image, text) for image, text in zip(images, TEXTS, strict=False)]
    documents += [Page(text=text) for text in TEXTS] + [Page(images[4])]
    ranking = pointwise.rank(QUERY, documents)
    for page in ranking:
        document = documents[page.index]
        assert page.score == pytest.approx(reference.log_odds(QUERY, document.image, document.text), abs=1e-3)
        assert (page.tokens == 0) == (document.image is None)
    assert ranking.pages == len(documents)
    alone = [pointwise.rank(QUERY, [document])[0].score for document in documents]
    assert alone == [page.score for page in sorted(ranking, key=lambda page: page.index)]


def test_a_text_that_is_too_long_is_cut_and_said_to_be(
    pointwise: Reranker, checkpoint: Path, bundle: Path, images: list[Image.Image]
) -> None:
    reference = YesNoReference(checkpoint, bundle / "tokenizer.json")
    long = " ".join(f"word{number % 7}" for number in range(8000))
    ranking = pointwise.rank(QUERY, [Page(images[0], long), Page(images[0], "short")])
    (note,) = ranking.warnings
    assert note.index == 0
    assert "tokens of its prompt were left out, which has 10,240 at most" in note.text
    (cut,) = (page for page in ranking if page.index == 0)
    assert cut.warnings == (note.text,)
    assert cut.score == pytest.approx(reference.log_odds(QUERY, images[0], long), abs=1e-3)


def test_texts_are_refused_where_they_cannot_be_read(
    pointwise: Reranker, reranker: Reranker, images: list[Image.Image]
) -> None:
    with pytest.raises(PageError, match=r"candidate 1 .*a text for a bundle that reads pages only"):
        reranker.rank("income", [images[0], Page(images[1], "a text")])
    with pytest.raises(PageError, match=r"candidate 0 .*the text holds '<\|im_end\|>'"):
        pointwise.rank(QUERY, [Page(text="a<|im_end|>")])
    with pytest.raises(InvalidInput, match="a page without an image and without text"):
        Page()
    with pytest.raises(InvalidInput, match="the text of a page must be a string, not int"):
        Page(images[0], 3)  # type: ignore[arg-type]
