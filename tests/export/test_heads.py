"""Which tensor the output head is: the one that transformers loads, whatever config.json says of tying."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import Shape
from safetensors.torch import load_file, save_file
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.export.reference import Reference
from ziprerank.export.samples import QUERIES, page_image, prompt_ids
from ziprerank.export.verify import TOLERANCE, logit_error

EMBEDDINGS = "model.language_model.embed_tokens.weight"
PAGES = [page_image(number, (256, 256)) for number in range(3)]


def with_head(source: Path, own: Path, head: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """Makes the checkpoint ``source``, which has no head, with the one that is made of its embeddings."""
    own.mkdir()
    for file in source.iterdir():
        if file.name != "model.safetensors":
            (own / file.name).symlink_to(file)
    tensors = load_file(source / "model.safetensors")
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = head(tensors[EMBEDDINGS])
    save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})
    return own


@pytest.fixture
def two_tables(make_checkpoint, tmp_path: Path) -> Path:
    """A checkpoint whose configuration ties the head to the embeddings, and which stores another head."""
    torch.manual_seed(1)
    source = make_checkpoint(Shape(tied=True))
    return with_head(source, tmp_path / "two tables", lambda table: torch.randn_like(table) * table.std())


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_head_that_is_stored_is_the_head(target: str, two_tables: Path, tmp_path: Path) -> None:
    options = ExportOptions(target=target, precision="fp32")
    host = Host(export_checkpoint(str(two_tables), tmp_path / "bundle", options))
    reference = Reference(two_tables, mean=[0.5] * 3, std=[0.5] * 3, letters=host.manifest["tokens"]["letters"])
    ids = prompt_ids(tmp_path / "bundle", host.manifest["prompt"], QUERIES[0], len(PAGES))
    expected = reference.score(ids, [reference.encode(page) for page in PAGES], 0.5)
    pages = [host.encode(page) for page in PAGES]
    assert logit_error(host.score(ids, pages, 0.5), expected) < TOLERANCE
    # the embeddings would not have done: with them the scores are others
    reference.head = reference.model.get_input_embeddings().weight[host.manifest["tokens"]["letters"]]
    tied = reference.score(ids, [reference.encode(page) for page in PAGES], 0.5)
    assert logit_error(host.score(ids, pages, 0.5), tied) > 0.1


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "int4"])
def test_quantised_bundles_store_that_head(precision: str, two_tables: Path, tmp_path: Path) -> None:
    bundle = export_checkpoint(str(two_tables), tmp_path / "bundle", ExportOptions(precision=precision))
    stored = {name: value for file in bundle.glob("packed-*.safetensors") for name, value in load_file(file).items()}
    head = load_file(two_tables / "model.safetensors")["lm_head.weight"]
    np.testing.assert_array_equal(stored["letters.weight"], head[Host(bundle).manifest["tokens"]["letters"]])


def test_a_stored_head_that_equals_the_embeddings_changes_nothing(make_checkpoint, tmp_path: Path) -> None:
    source = make_checkpoint(Shape(tied=True))
    own = with_head(source, tmp_path / "equal", torch.clone)
    logits = []
    for name, checkpoint in (("one", source), ("two", own)):
        host = Host(export_checkpoint(str(checkpoint), tmp_path / name))
        ids = prompt_ids(tmp_path / name, host.manifest["prompt"], QUERIES[0], len(PAGES))
        logits.append(host.score(ids, [host.encode(page) for page in PAGES], 0.5).logits)
    np.testing.assert_array_equal(*logits)
