"""Device memory: a query leaves enough behind for the next one, and few rows of the table of embeddings cost none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ziprerank.bundle import Bundle
from ziprerank.export.config import EMBEDDINGS
from ziprerank.export.shards import PACKED_DTYPES, read_shard

from hollow import HollowGpu, Step
from hollow.record import Part

Bundles = Callable[[str], Path]
PAGE = (288, 288)
MANY = 20


@pytest.fixture(scope="module", params=["bf16", "int4"])
def bundle(request: pytest.FixtureRequest, bundles: Bundles) -> Bundle:
    return Bundle.load(bundles(str(request.param)))


def allocated(part: Part) -> list[int]:
    """Bytes of each allocation on the device."""
    return [allocation.bytes for allocation in part.allocations if allocation.where == "device"]


def table_bytes(bundle: Bundle) -> int:
    """Of the table of token embeddings, as it is stored."""
    files = sorted(bundle.path.glob("*.safetensors"))
    tensors = {name: tensor for file in files for name, tensor in read_shard(file, PACKED_DTYPES).items()}
    return tensors[EMBEDDINGS].length


def test_the_next_query_of_a_size_allocates_nothing(hollow_gpu: HollowGpu, bundle: Bundle, tmp_path: Path) -> None:
    steps = [Step([PAGE] * MANY, 1.0)] * 3
    parts = hollow_gpu.rank(bundle.path, tmp_path / "log", steps).record.parts
    assert allocated(parts["step 0"])
    assert [allocated(parts[f"step {number}"]) for number in range(1, len(steps))] == [[]] * (len(steps) - 1)


def test_the_table_of_embeddings_is_in_pinned_memory_of_the_host(
    hollow_gpu: HollowGpu, bundle: Bundle, tmp_path: Path
) -> None:
    """No copy of it goes to the device when the bundle is loaded, or later; and it is given back."""
    size = table_bytes(bundle)
    run = hollow_gpu.rank(bundle.path, tmp_path / "log", [Step([PAGE])])
    assert "error" not in run.output["steps"][0]
    whole = run.record.whole
    assert [a.bytes for a in run.record.parts["load"].allocations if a.where == "host"].count(size) == 1
    assert size not in allocated(whole)
    assert size not in [copy.bytes for copy in whole.copies]
    assert run.record.parts["end"].pinned == 0


def test_a_host_without_pinned_memory_is_told_so(hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path) -> None:
    """The first allocation of the driver is the table's."""
    bundle = Bundle.load(bundles("bf16"))
    run = hollow_gpu.rank(
        bundle.path, tmp_path / "log", [], fail=f"alloc:{first_pinned(hollow_gpu, bundle, tmp_path)}:2"
    )
    kind, text = run.output["error"]
    assert kind == "ProviderError"
    assert f"no {table_bytes(bundle)} bytes of pinned memory for the table of token embeddings" in text


def first_pinned(gpu: HollowGpu, bundle: Bundle, folder: Path) -> int:
    """Which allocation is the table's, counted from 1."""
    found = gpu.rank(bundle.path, folder / "found", []).record.whole.allocations
    size = table_bytes(bundle)
    return next(number for number, a in enumerate(found, 1) if a.where == "host" and a.bytes == size)
