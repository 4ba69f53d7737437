"""Both graphs on ONNX Runtime's CUDA provider: where their nodes run, which kernels, what is copied and waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from ziprerank.bundle import Bundle

from hollow import HollowGpu, prepare
from hollow.summary import AGAIN, ALL, MANY, NEW, ONE, ONE_AGAIN, OTHER_SIZES, STEPS, Summary, measure

Bundles = Callable[[str], Path]
PRUNE = ("text_scales", "relevance_scores", "select_kept")
STEP_NUMBERS = (ONE, ONE_AGAIN, NEW, AGAIN, ALL, OTHER_SIZES)
ENCODES = (ONE, NEW, OTHER_SIZES)  # steps with pages that are not in the pool


@pytest.fixture(scope="module", params=["bf16", "fp16", "int8", "int4"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(precision: str, bundles: Bundles) -> Bundle:
    return Bundle.load(bundles(precision))


@pytest.fixture(scope="module")
def found(hollow_gpu: HollowGpu, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return measure(hollow_gpu, bundle.path, tmp_path_factory.mktemp("graphs"))


def test_every_node_is_on_the_gpu(found: Summary) -> None:
    """All but arithmetic of shapes; and ONNX Runtime puts no copy between its providers."""
    assert found.on_cpu == {"vision": Counter(), "rerank": Counter()}
    assert found.copies == {"vision": 0, "rerank": 0}
    assert all(placement.gpu.total() > 100 for placement in found.placement.values())


def test_attention_is_a_flash_kernel_in_every_layer(found: Summary, bundle: Bundle) -> None:
    """Also in the first query of a size. Of the last layer only one row is asked for: two thin products."""
    depth, layers = bundle.model["vision"]["depth"], bundle.model["decoder"]["layers"]
    for number in STEP_NUMBERS:
        pages = len(STEPS[number].sizes) if number in ENCODES else 0
        part = found.step(number)
        assert part.flash == depth * pages + layers - 1
        assert len(part.of("softmax")) == 1
        heads = [gemm for gemm in part.gemms if gemm.batch > 1]
        assert len(heads) == 2
        group = bundle.model["decoder"]["heads"] // bundle.model["decoder"]["kv_heads"]
        assert all(gemm.n == group for gemm in heads)


def test_pruning_is_three_launches_a_window(found: Summary) -> None:
    for number in STEP_NUMBERS:
        assert Counter(launch.kernel for launch in found.step(number).of(*PRUNE)) == dict.fromkeys(PRUNE, 1)


def test_the_host_waits_once_for_pages_and_once_for_scores(found: Summary) -> None:
    """Beside that a page waits for the buffers of the page before it, which an event guards."""
    for number in STEP_NUMBERS:
        pages = len(STEPS[number].sizes) if number in ENCODES else 0
        waits = Counter((sync.what, sync.driver) for sync in found.step(number).syncs)
        assert waits == Counter({("stream", True): 1, ("stream", False): 1, ("event", True): pages})
        assert not any(copy.waits for copy in found.step(number).copies)


def test_only_scores_and_kept_tokens_come_back(found: Summary) -> None:
    for number in STEP_NUMBERS:
        kept = sum(len(page) for page in found.run.output["steps"][number]["kept"])
        back = [copy.bytes for copy in found.step(number).copies if copy.direction == "DtoH"]
        assert sorted(back) == sorted([20 * 4, kept * 8])


def test_what_goes_to_the_gpu_is_patches_and_numbers(found: Summary) -> None:
    """A page is its patches, one byte a channel, with two numbers a patch; a query is some numbers a token."""
    for number in STEP_NUMBERS:
        part, ranked = found.step(number), found.run.output["steps"][number]
        tokens, text = sum(ranked["tokens"]), ranked["text"]
        patches = 4 * tokens * (768 + 2 * 8) if number in ENCODES else 0
        assert 0 < part.bytes("HtoD") - patches <= (tokens + text) * 6 * 8
        pages = len(ranked["tokens"]) if number in ENCODES else 0
        assert len([copy for copy in part.copies if copy.direction == "HtoD"]) == 8 + pages


# Kernels and products of cuBLAS: of one page, and of a query on twenty pages at keep ratio 0.5. Fewer is better.
LAUNCHES = {"bf16": (148, 120), "fp16": (148, 120), "int8": (148, 143), "int4": (148, 143)}


def test_launches_are_as_counted(found: Summary, bundle: Bundle, precision: str) -> None:
    """And those of a query depend on its pages and its keep ratio only in whether the keys of attention are split."""
    assert found.launches == LAUNCHES[precision]
    one, again, every = (len(found.step(number).launches) for number in (ONE_AGAIN, AGAIN, ALL))
    assert max(one, again, every) - min(one, again, every) <= 2 * bundle.model["decoder"]["layers"]  # keys split or not


def test_memory_does_not_grow_with_the_square_of_tokens(found: Summary, bundle: Bundle) -> None:
    """Scores of one layer's attention would be larger than anything that is allocated for a query of 20 pages."""
    tokens = MANY * 81 + found.run.output["steps"][ALL]["text"]
    scores = bundle.model["decoder"]["heads"] * tokens**2 * 2
    allocated = [a.bytes for number in (NEW, AGAIN, ALL) for a in found.step(number).allocations if a.where == "device"]
    assert allocated
    assert sum(allocated) < scores


def test_everything_is_given_back(found: Summary) -> None:
    """Device and pinned memory when the engine is gone, and the pool's rows after each query."""
    end = found.run.record.parts["end"]
    assert end.live == end.pinned == 0
    assert {step["pinned_rows"] for step in found.run.output["steps"]} == {0}


def test_cudnn_is_not_needed(bundles: Bundles, tmp_path: Path, hollow_gpu: HollowGpu) -> None:
    """This version opens it for the first node that needs it; there is none here, and none of ours does."""
    folder = tmp_path / "run"
    folder.mkdir()
    measured = measure(prepare(tmp_path / "stubs", hollow_gpu.version, cudnn=False), bundles("bf16"), folder)
    assert measured.finished
