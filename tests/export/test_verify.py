"""The parity certificate: it is written only if it is true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checkpoints import Shape
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner
from ziprerank.bundle import Bundle, default_bundle
from ziprerank.cli.app import app
from ziprerank.export import ExportError, ExportOptions, export_checkpoint
from ziprerank.export.verify import TOLERANCE, verify_bundle


def test_a_true_bundle_gets_its_certificate(make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(Shape())
    bundle = export_checkpoint(str(checkpoint), tmp_path / "bundle")
    done = CliRunner().invoke(app, ["verify", str(bundle), str(checkpoint)])
    assert done.exit_code == 0, done.output
    certificate = json.loads((bundle / "ziprerank.json").read_text())["parity"]
    assert 0 < certificate["max_logit_error"] <= TOLERANCE
    assert certificate["kept_sets"] == "equal"
    assert Bundle.load(bundle).parity == certificate


def test_log_odds_are_certified_too(make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(Shape(tied=True))
    options = ExportOptions(prompt="qwen3-vl-reranker")
    bundle = export_checkpoint(str(checkpoint), tmp_path / "bundle", options)
    certificate = verify_bundle(bundle, checkpoint)
    assert 0 < certificate["max_log_odds_error"] <= TOLERANCE
    assert Bundle.load(bundle).parity == certificate
    shown = CliRunner().invoke(app, ["doctor", "--bundle", str(bundle)])
    assert "log-odds of yes, each page by itself" in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("ziprerank", r"letter logits are off by .* of their spread, 1e-03 is allowed"),
        ("qwen3-vl-reranker", r"log-odds are off by .*, 1e-03 is allowed"),
    ],
)
def test_another_checkpoint_gets_none(
    prompt: str, message: str, make_checkpoint, own_checkpoint: Path, tmp_path: Path
) -> None:
    bundle = export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle", ExportOptions(prompt=prompt))
    before = (bundle / "ziprerank.json").read_bytes()
    file = own_checkpoint / "model.safetensors"
    tensors = load_file(file)
    name = "model.language_model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name] * 1.05
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ExportError, match=message):
        verify_bundle(bundle, own_checkpoint)
    assert (bundle / "ziprerank.json").read_bytes() == before


def test_a_bundle_in_half_precision_is_refused(make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(Shape())
    bundle = export_checkpoint(str(checkpoint), tmp_path / "bundle", ExportOptions(target="cuda", precision="bf16"))
    with pytest.raises(ExportError, match="computes in bf16"):
        verify_bundle(bundle, checkpoint)


def test_the_default_bundle_carries_a_certificate(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))
    shipped = json.loads((bundle / "ziprerank.json").read_text())["parity"]
    assert shipped["max_logit_error"] <= TOLERANCE
