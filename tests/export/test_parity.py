"""The exported graphs against transformers' own modules: the same logits, the same kept tokens."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import Shape
from ziprerank import Reranker
from ziprerank._engine import library
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.host import Host, printed_tokens
from ziprerank.export.reference import Reference
from ziprerank.export.verify import TOLERANCE, compare_kept, logit_error, page_image, prompt_ids

SIZES = ((256, 256), (320, 256), (256, 416), (288, 352))
QUERY = 'Which "region" grew\nmost — 增长 📈?'
SHAPES = {
    "untied": Shape(),
    "tied": Shape(tied=True),
    "another depth, head count and DeepStack set": Shape(
        layers=5, heads=6, kv_heads=3, vision_depth=6, vision_heads=3, deepstack=(1, 4)
    ),
    "sharded, bf16": Shape(sharded=True, dtype=torch.bfloat16),
    "more DeepStack levels than layers": Shape(layers=2, deepstack=(0, 2, 3)),
}


CASES = [
    pytest.param(shape, target, id=f"{name}-{target}", marks=[pytest.mark.slow] if number and target == "cuda" else [])
    for number, (name, shape) in enumerate(SHAPES.items())
    for target in ("cpu", "cuda")
]


@pytest.mark.parametrize(("shape", "target"), CASES)
def test_logits_and_kept_sets_match_transformers(shape, target, make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(shape)
    bundle = export_checkpoint(str(checkpoint), tmp_path / "bundle", ExportOptions(target=target, precision="fp32"))
    hosts = [Host(bundle), Host(bundle, op_library=Path(library()))]
    manifest = hosts[0].manifest
    reference = Reference(checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=manifest["tokens"]["letters"])
    engine = Reranker.from_bundle(bundle)

    images = [page_image(number, SIZES[number % len(SIZES)]) for number in range(20)]
    expected_pages = [reference.encode(image) for image in images]
    pages = [hosts[0].encode(image) for image in images]
    for count in (1, 4, 20):
        ids = prompt_ids(bundle, manifest["prompt"], QUERY, count)
        for keep_ratio in (1.0, 0.5, 0.25):
            expected = reference.score(ids, expected_pages[:count], keep_ratio)
            for host in hosts:
                actual = host.score(ids, pages[:count], keep_ratio)
                compare_kept(actual.kept, expected)
                assert logit_error(actual, expected) < TOLERANCE
            ranking = engine.rank(QUERY, images[:count], keep_ratio=keep_ratio)
            by_index = sorted(ranking.results, key=lambda page: page.index)
            compare_kept([page.kept for page in by_index], expected)
            spread = np.ptp(expected.logits)
            np.testing.assert_allclose(
                [page.score for page in by_index], expected.logits[:count], atol=TOLERANCE * spread, rtol=0
            )
            assert all(first.score >= second.score for first, second in pairwise(ranking.results))


def test_a_query_only_mask_matches_too(make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(Shape())
    bundle = export_checkpoint(str(checkpoint), tmp_path / "bundle")
    host = Host(bundle, op_library=Path(library()))
    reference = Reference(checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=host.manifest["tokens"]["letters"])
    images = [page_image(number, SIZES[number]) for number in range(3)]
    ids = prompt_ids(bundle, host.manifest["prompt"], QUERY, 3)
    mask = [20 <= position < 30 for position in range(len(ids))]
    expected = reference.score(ids, [reference.encode(image) for image in images], 0.3, mask)
    actual = host.score(ids, [host.encode(image) for image in images], 0.3, mask)
    compare_kept(actual.kept, expected)
    assert logit_error(actual, expected) < TOLERANCE
    everything = host.score(ids, [host.encode(image) for image in images], 0.3)
    assert any(not np.array_equal(a, b) for a, b in zip(actual.kept, everything.kept, strict=True))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_without_blank_tokens_it_matches_too(target, make_checkpoint, tmp_path: Path) -> None:
    """Compares with transformers' modules on the remaining tokens, at their places on the page."""
    checkpoint = make_checkpoint(Shape())
    bundle = export_checkpoint(
        str(checkpoint), tmp_path / "bundle", ExportOptions(target=target, precision="fp32", blank="drop")
    )
    hosts = [Host(bundle), Host(bundle, op_library=Path(library()))]
    reference = Reference(checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=hosts[0].manifest["tokens"]["letters"])
    images = [page_image(number, SIZES[number]).copy() for number in range(4)]
    for number, image in enumerate(images):
        image[60 + number :, 40:] = 200 + number  # the last rows and columns too
        image[:70, 100:] = 90
    read = [printed_tokens(image, 32) for image in images]
    assert all(
        len(some) < 0.6 * image.shape[0] * image.shape[1] / 1024 for some, image in zip(read, images, strict=True)
    )
    expected_pages = [reference.encode(image, some) for image, some in zip(images, read, strict=True)]
    pages = [hosts[0].encode(image, drop_blank=True) for image in images]
    engine = Reranker.from_bundle(bundle)
    ids = prompt_ids(bundle, hosts[0].manifest["prompt"], QUERY, 4)
    for keep_ratio in (1.0, 0.5, 0.25):
        expected = reference.score(ids, expected_pages, keep_ratio)
        for host in hosts:
            actual = host.score(ids, pages, keep_ratio)
            compare_kept(actual.kept, expected)
            assert logit_error(actual, expected) < TOLERANCE
        by_index = sorted(engine.rank(QUERY, images, keep_ratio=keep_ratio), key=lambda page: page.index)
        compare_kept([page.kept for page in by_index], expected)
        spread = np.ptp(expected.logits)
        np.testing.assert_allclose([page.score for page in by_index], expected.logits[:4], atol=TOLERANCE * spread)
    everything = reference.score(ids, [reference.encode(image) for image in images], 1.0)
    alone = [reference.encode(image, np.arange(image.shape[0] * image.shape[1] // 1024)) for image in images]
    assert logit_error(reference.score(ids, alone, 1.0), everything) < 1e-5
    assert logit_error(reference.score(ids, expected_pages, 1.0), everything) > 10 * TOLERANCE


def test_every_part_of_the_model_shows_in_the_logits(own_checkpoint: Path, tmp_path: Path) -> None:
    """Shows that the tolerance is tight: a change of a DeepStack merger, a norm or the positions is far above it."""
    from safetensors.torch import load_file, save_file

    bundle = export_checkpoint(str(own_checkpoint), tmp_path / "bundle")
    host = Host(bundle)
    images = [page_image(number, SIZES[number]) for number in range(4)]
    ids = prompt_ids(bundle, host.manifest["prompt"], QUERY, 4)
    tensors = load_file(own_checkpoint / "model.safetensors")
    pages = [host.encode(image) for image in images]
    actual = host.score(ids, pages, 0.5)
    for name in (
        "model.visual.deepstack_merger_list.0.linear_fc2.weight",
        "model.visual.blocks.3.norm2.weight",
        "model.visual.pos_embed.weight",
        "model.language_model.layers.1.self_attn.k_norm.weight",
    ):
        changed = {**tensors, name: tensors[name].flip(0).contiguous()}
        (own_checkpoint / "model.safetensors").unlink()
        save_file(changed, own_checkpoint / "model.safetensors", metadata={"format": "pt"})
        reference = Reference(own_checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=host.manifest["tokens"]["letters"])
        expected = reference.score(ids, [reference.encode(image) for image in images], 0.5)
        assert logit_error(actual, expected) > 10 * TOLERANCE, name
