"""Checkpoint in, bundle out: the two graphs, the weights they refer to, the tokenizer and the manifest
(docs/bundle.md).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from safetensors.numpy import save_file
from ziprerank.kernels import compile_kernels

from .calibrate import Calibration, Window, activation_ranges
from .checkpoint import Checkpoint, Tensor, Tensors, read_shard
from .errors import CheckpointError, ExportError
from .files import Weights, bring_shard, checksums, new_directory
from .linear import Stored
from .manifest import FORMAT_VERSION, describe_model, graph_metadata, own_version, write_manifest
from .pack import as_stored, pack_weights
from .precision import precision_for
from .prompt import check_vision_tokens, letter_ids, load_prompt
from .rerank import build_rerank
from .vision import build_vision, fold_patch_embedding

PRUNE_TEXTS = ("all_before_image", "query_only")
BLANKS = ("keep", "drop")
_RECOMMENDED = ("keep_ratio", "window", "stride", "prune_text", "blank")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a bundle recommends to its users; every call can ask for something else."""

    keep_ratio: float = 0.5
    window: int = 20
    stride: int = 10
    prune_text: str = "all_before_image"
    longest_side: int = 1024
    """pixels of a page's longer side"""
    dpi: float | None = None
    """resolution at which PDF pages are rendered where ``longest_side`` allows it; None: always to ``longest_side``"""
    blank: str = "keep"
    """``drop``: visual tokens of blank paper are left out before the vision tower, where a model's rankings stand it"""

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise ExportError(f"keep_ratio {self.keep_ratio} must lie in (0, 1]")
        if not 1 <= self.window <= 20:
            raise ExportError(f"window {self.window} must lie in 1..20: a pass has 20 letters")
        if not 1 <= self.stride <= self.window:
            raise ExportError(f"stride {self.stride} must lie in 1..window ({self.window})")
        if self.prune_text not in PRUNE_TEXTS:
            raise ExportError(f"prune_text {self.prune_text!r} is unknown: use one of {', '.join(PRUNE_TEXTS)}")
        if not 256 <= self.longest_side <= 16384:
            raise ExportError(f"longest_side {self.longest_side} must lie in 256..16384 pixels")
        if self.blank not in BLANKS:
            raise ExportError(f"blank {self.blank!r} is unknown: use one of {', '.join(BLANKS)}")
        if self.dpi is not None and not 20 <= self.dpi <= 1200:
            raise ExportError(f"dpi {self.dpi} must lie in 20..1200")

    @staticmethod
    def of(checkpoint: Checkpoint, **overrides: Any) -> Defaults:
        """The checkpoint's own recommendations (``prompt.json``), then what the caller asks for (None: nothing)."""
        own = checkpoint.optional_json("prompt.json") or {}
        chosen = {key: own[key] for key in Defaults.__dataclass_fields__ if key in own}
        chosen.update({key: value for key, value in overrides.items() if value is not None})
        return Defaults(**chosen)


def export_checkpoint(
    checkpoint: str,
    out: Path,
    *,
    target: str = "cpu",
    precision: str | None = None,
    weights: Weights = "auto",
    revision: str | None = None,
    keep_ratio: float | None = None,
    window: int | None = None,
    stride: int | None = None,
    prune_text: str | None = None,
    longest_side: int | None = None,
    dpi: float | None = None,
    blank: str | None = None,
    kernels: bool = False,
    calibration: Calibration | None = None,
) -> Path:
    """Write the bundle of ``checkpoint`` (a directory in Hugging Face format, or a hub id) to the new directory
    ``out``.

    Args:
        target: ``cpu`` (ONNX Runtime's CPU operators) or ``cuda`` (standard operators: CUDA, TensorRT).
        precision: ``fp32``, ``fp16`` or ``bf16``: the graphs refer to the weights as they are stored; ``int8``,
            ``int8-dynamic``, ``int4`` or ``fp8``: the decoder's linear layers are quantised (docs/precision.md). None
            is fp32 for ``cpu``, bf16 for ``cuda``.
        weights: ``link`` hard-links the checkpoint's shards into the bundle, ``copy`` copies them, ``auto`` links
            where it can.
        keep_ratio, window, stride, prune_text, longest_side, dpi, blank: the bundle's defaults (`Defaults`).
        calibration: pages and queries on which ``fp8`` finds the ranges of activations.

    Returns:
        ``out``. It appears whole or not at all.

    Raises:
        CheckpointError: the checkpoint cannot be exported.
        ExportError: a setting is out of range, or ``out`` exists.
        KernelError: a pruning kernel does not compile for the model's shapes.
    """
    plan = precision_for(target, precision)
    if plan.name == "fp8" and calibration is None:
        raise ExportError(
            "precision fp8 needs ranges of the activations: calibrate on pages and queries like those it will see "
            "(--calibrate report.pdf --query '...')"
        )
    if plan.name != "fp8" and calibration is not None:
        raise ExportError(f"calibration for precision {plan.name}: only fp8 is calibrated, leave it out")
    if kernels and target != "cuda":
        raise ExportError(f"kernels for target {target}: they run on CUDA, use target cuda or leave them out")
    if weights not in ("auto", "link", "copy"):
        raise ExportError(f"weights {weights!r} is unknown: use auto, link or copy")
    if out.exists():
        raise ExportError(f"{out} exists: choose a new directory, or remove it first")
    source = Checkpoint.open(checkpoint, revision=revision)
    defaults = Defaults.of(
        source,
        keep_ratio=keep_ratio,
        window=window,
        stride=stride,
        prune_text=prune_text,
        longest_side=longest_side,
        dpi=dpi,
        blank=blank,
    )
    prompt = load_prompt(source)
    check_vision_tokens(source)
    letters = letter_ids(source.tokenizer_file)
    image = _image_rules(source, defaults)

    with new_directory(out) as folder:
        shutil.copyfile(source.tokenizer_file, folder / "tokenizer.json")
        derived = _derive(source, image, folder / "derived.safetensors")
        ranges: dict[str, float] = {}
        if calibration is not None:
            sample = Window(image, prompt, letters, defaults)
            ranges = activation_ranges(source, derived, sample, calibration)
            plan = precision_for(target, plan.name, ranges)
        tensors: Tensors = source
        if plan.packed:
            tensors = pack_weights(source, plan, letters, folder)
        else:
            for shard in source.shards:
                bring_shard(shard, folder / shard.name, weights)
        stored = checksums(folder)
        identity = {
            "format_version": FORMAT_VERSION,
            "target": target,
            "precision": plan.compute,
            "config": source.config_json,
            "prompt": prompt,
            "image": image,
            "files": stored,
            **({"quantisation": {**plan.describe(), "ranges": ranges}} if plan.packed else {}),
        }
        bundle_id = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        metadata = graph_metadata(source, bundle_id, plan, letters, defaults)
        _save(build_vision(tensors, derived, plan.lowering(Stored()), metadata), folder / "vision.onnx")
        _save(build_rerank(tensors, letters, plan.lowering(plan.decoder), metadata), folder / "rerank.onnx")
        if kernels:
            compile_kernels(folder / "kernels", source.config.decoder.hidden_size, plan.compute, source.config.levels)
        manifest = {
            "format_version": FORMAT_VERSION,
            "bundle_id": bundle_id,
            "created_by": f"ziprerank {own_version()}",
            "source": {
                "name": source.name,
                "revision": source.revision,
                "architecture": source.config_json["architectures"][0],
            },
            "target": target,
            "precision": plan.compute,
            **({"quantisation": {**plan.describe(), "as_stored": as_stored(source)}} if plan.packed else {}),
            "model": describe_model(source),
            "tokens": {
                "letters": letters,
                "image_pad": source.config.image_pad_id,
                "vision_start": source.config.vision_start_id,
                "vision_end": source.config.vision_end_id,
                "video_pad": source.config.video_pad_id,
            },
            "image": image,
            "prompt": prompt,
            "defaults": {key: getattr(defaults, key) for key in _RECOMMENDED},
            "files": {
                name: {"size": (folder / name).stat().st_size, "sha256": checksum}
                for name, checksum in checksums(folder, known=stored).items()
            },
            "parity": None,
        }
        write_manifest(folder, manifest)
    return out


def _derive(source: Checkpoint, image: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    save_file(fold_patch_embedding(source, tuple(image["mean"]), tuple(image["std"])), file)
    file.chmod(0o644)
    return read_shard(file)


def _image_rules(source: Checkpoint, defaults: Defaults) -> dict[str, Any]:
    """From ``preprocessor_config.json``: the class's own defaults are another model's, so all of it must be there."""
    processor = source.json("preprocessor_config.json")
    config = source.config.vision
    try:
        size = processor["size"]
        rules = {
            "patch_size": int(processor["patch_size"]),
            "merge_size": int(processor["merge_size"]),
            "min_pixels": int(size["shortest_edge"]),
            "max_pixels": int(size["longest_edge"]),
            "longest_side": defaults.longest_side,
            "dpi": defaults.dpi,
            "mean": [float(value) for value in processor["image_mean"]],
            "std": [float(value) for value in processor["image_std"]],
        }
    except KeyError as error:
        raise CheckpointError(f"preprocessor_config.json has no {error.args[0]!r}") from error
    if (rules["patch_size"], rules["merge_size"]) != (config.patch_size, config.merge_size):
        raise CheckpointError(
            f"preprocessor_config.json has patch {rules['patch_size']} and merge {rules['merge_size']}, "
            f"config.json {config.patch_size} and {config.merge_size}"
        )
    if abs(processor.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise CheckpointError(f"rescale_factor is {processor['rescale_factor']}: the export implements 1/255")
    return rules


def _save(model: ir.Model, file: Path) -> None:
    ir.save(model, file)
    # the checker refuses weights in a hard-linked file; `Checkpoint` has checked where they lie, so here they
    # stand as inputs
    proto = onnx.load(file, load_external_data=False)
    proto.graph.input.extend(
        onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in proto.graph.initializer
    )
    del proto.graph.initializer[:]
    onnx.checker.check_model(proto, full_check=True)
