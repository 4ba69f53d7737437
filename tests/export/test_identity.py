"""What the digests of a bundle cover: its graphs too, and for page features the vision tower alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import Shape
from safetensors.torch import load_file, save_file
from ziprerank import Reranker
from ziprerank.bundle import Bundle
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.samples import page_image

PAGES = [page_image(number, (256, 256)) for number in range(3)]
TOWER = "model.visual."


def changed(checkpoint: Path, out: Path, prefix: str) -> Path:
    """A copy of ``checkpoint`` with other values in one of the tensors whose names begin with ``prefix``."""
    out.mkdir()
    for file in checkpoint.iterdir():
        if file.name != "model.safetensors":
            (out / file.name).symlink_to(file)
    tensors = load_file(checkpoint / "model.safetensors")
    name = min(name for name in tensors if name.startswith(prefix) and tensors[name].ndim == 2)
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture
def bundle(make_checkpoint, tmp_path: Path) -> Path:
    return export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle")


def ids(bundle: Path) -> tuple[str, str | None]:
    loaded = Bundle.load(bundle)
    return loaded.bundle_id, loaded.features_id


def test_another_decoder_has_the_same_features(bundle: Path, make_checkpoint, tmp_path: Path) -> None:
    """A page that one bundle has encoded is found by the other, on disk, and scored as if it had encoded it itself."""
    decoder = changed(make_checkpoint(Shape()), tmp_path / "checkpoint", "model.language_model.layers.0")
    other = export_checkpoint(str(decoder), tmp_path / "other")
    assert ids(bundle)[0] != ids(other)[0]
    assert ids(bundle)[1] == ids(other)[1] is not None
    Reranker.from_bundle(bundle, page_cache=tmp_path / "cache").rank("income", PAGES)
    sharing, alone = Reranker.from_bundle(other, page_cache=tmp_path / "cache"), Reranker.from_bundle(other)
    found = {page.index: page.score for page in sharing.rank("income", PAGES)}
    assert sharing.page_cache is not None
    assert (sharing.page_cache.stats()["hits"], sharing.page_cache.stats()["misses"]) == (3, 0)
    assert found == {page.index: page.score for page in alone.rank("income", PAGES)}


def test_another_tower_has_other_features(bundle: Path, make_checkpoint, tmp_path: Path) -> None:
    tower = changed(make_checkpoint(Shape()), tmp_path / "checkpoint", f"{TOWER}blocks.1")
    other = export_checkpoint(str(tower), tmp_path / "other")
    assert ids(bundle)[1] != ids(other)[1]
    Reranker.from_bundle(bundle, page_cache=tmp_path / "cache").rank("income", PAGES)
    second = Reranker.from_bundle(other, page_cache=tmp_path / "cache")
    second.rank("income", PAGES)
    assert second.page_cache is not None
    assert (second.page_cache.stats()["hits"], second.page_cache.stats()["misses"]) == (0, 3)


@pytest.mark.parametrize(("module", "both"), [("ziprerank.export.graph.LAYER_NORM_EPSILON", True), ("prune", False)])
def test_other_graphs_make_another_bundle(
    module: str, both: bool, bundle: Path, make_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights in a vision graph that computes something else, or in such a decoder alone."""
    monkeypatch.setattr(module if both else "ziprerank.export.prune.NORM_FLOOR", 1e-5)
    other = export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "other")
    assert ids(bundle)[0] != ids(other)[0]
    assert (ids(bundle)[1] != ids(other)[1]) == both


def test_where_weights_are_stored_and_what_is_quantised_does_not_matter(
    bundle: Path, make_checkpoint, tmp_path: Path
) -> None:
    sharded = export_checkpoint(str(make_checkpoint(Shape(sharded=True))), tmp_path / "sharded")
    int8 = export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "int8", ExportOptions(precision="int8"))
    assert {ids(one)[1] for one in (bundle, sharded, int8)} == {ids(bundle)[1]}
    assert len({ids(one)[0] for one in (bundle, sharded, int8)}) == 3


def test_other_statistics_and_precisions_have_other_features(make_checkpoint, bundle: Path, tmp_path: Path) -> None:
    half = export_checkpoint(
        str(make_checkpoint(Shape())), tmp_path / "bf16", ExportOptions(target="cuda", precision="bf16")
    )
    stored = export_checkpoint(str(make_checkpoint(Shape(dtype=torch.bfloat16))), tmp_path / "stored")
    assert len({ids(one)[1] for one in (bundle, half, stored)}) == 3
