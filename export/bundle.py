"""Checkpoint in, bundle out: the two graphs, the weights they refer to, the tokenizer and the manifest
(docs/bundle.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import onnx
import onnx_ir as ir
from safetensors.numpy import save_file

from ..kernels import compile_kernels
from .attention import attention_for
from .checkpoint import Checkpoint, Tensor, read_shard
from .errors import CheckpointError, ExportError
from .graph import PRECISIONS
from .prompt import check_vision_tokens, letter_ids, load_prompt
from .rerank import build_rerank
from .vision import build_vision, fold_patch_embedding

FORMAT_VERSION = 1
MANIFEST = "ziprerank.json"
PRUNE_TEXTS = ("all_before_image", "query_only")
Weights = Literal["auto", "link", "copy"]


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
    kernels: bool = False,
) -> Path:
    """Write the bundle of ``checkpoint`` (a directory in Hugging Face format, or a hub id) to the new directory
    ``out``.

    Args:
        target: ``cpu`` (ONNX Runtime's CPU operators, fp32) or ``cuda`` (standard operators: CUDA, TensorRT).
        precision: of the computation: ``fp32``, ``fp16`` or ``bf16``; None is fp32 for ``cpu``, bf16 for ``cuda``.
            Weights stay as they are stored.
        weights: ``link`` hard-links the checkpoint's shards into the bundle, ``copy`` copies them, ``auto`` links
        where it can. keep_ratio, window, stride, prune_text, longest_side, dpi: the bundle's defaults (`Defaults`).

    Returns:
        ``out``. It appears whole or not at all.

    Raises:
        CheckpointError: the checkpoint cannot be exported.
        ExportError: a setting is out of range, or ``out`` exists.
        KernelError: a pruning kernel does not compile for the model's shapes.
    """
    attention = attention_for(target)
    precision = precision or ("fp32" if target == "cpu" else "bf16")
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}")
    if target == "cpu" and precision != "fp32":
        raise ExportError(f"precision {precision} on target cpu: ONNX Runtime's CPU kernels need fp32")
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
    )
    prompt = load_prompt(source)
    check_vision_tokens(source)
    letters = letter_ids(source.tokenizer_file)
    image = _image_rules(source, defaults)

    with _new_directory(out) as folder:
        shutil.copyfile(source.tokenizer_file, folder / "tokenizer.json")
        for shard in source.shards:
            _bring(shard, folder / shard.name, weights)
        derived = _derive(source, image, folder / "derived.safetensors")
        weights_and_tokenizer = _checksums(folder)
        identity = {
            "format_version": FORMAT_VERSION,
            "target": target,
            "precision": precision,
            "config": source.config_json,
            "prompt": prompt,
            "image": image,
            "files": weights_and_tokenizer,
        }
        bundle_id = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        metadata = _metadata(source, bundle_id, precision, letters, defaults)
        dtype = PRECISIONS[precision]
        _save(build_vision(source, derived, dtype, attention, metadata), folder / "vision.onnx")
        _save(build_rerank(source, letters, dtype, attention, metadata), folder / "rerank.onnx")
        if kernels:
            compile_kernels(folder / "kernels", source.config.decoder.hidden_size, precision, source.config.levels)
        manifest = {
            "format_version": FORMAT_VERSION,
            "bundle_id": bundle_id,
            "created_by": f"ziprerank {_own_version()}",
            "source": {
                "name": source.name,
                "revision": source.revision,
                "architecture": source.config_json["architectures"][0],
            },
            "target": target,
            "precision": precision,
            "model": _model(source),
            "tokens": {
                "letters": letters,
                "image_pad": source.config.image_pad_id,
                "vision_start": source.config.vision_start_id,
                "vision_end": source.config.vision_end_id,
                "video_pad": source.config.video_pad_id,
            },
            "image": image,
            "prompt": prompt,
            "defaults": {key: getattr(defaults, key) for key in ("keep_ratio", "window", "stride", "prune_text")},
            "files": {
                name: {"size": (folder / name).stat().st_size, "sha256": checksum}
                for name, checksum in _checksums(folder, known=weights_and_tokenizer).items()
            },
            "parity": None,
        }
        write_manifest(folder, manifest)
    return out


def read_manifest(bundle: Path) -> dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        ExportError: there is none.
    """
    file = bundle / MANIFEST
    if not file.is_file():
        raise ExportError(f"{bundle} is not a bundle: it has no {MANIFEST}")
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def write_manifest(bundle: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest in one step: a reader sees the old one or the new one."""
    partial = bundle / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(bundle / MANIFEST)


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """A directory that is renamed to ``out`` on success and removed on failure."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _bring(shard: Path, to: Path, weights: Weights) -> None:
    # ONNX Runtime refuses symbolic links that leave the bundle, so it is a hard link to the file behind one
    if weights != "copy":
        try:
            os.link(shard.resolve(), to)
            return
        except OSError as error:
            if weights == "link":
                raise ExportError(
                    f"{shard} cannot be hard-linked into {to.parent.parent}: {error}; use weights=copy"
                ) from error
    shutil.copyfile(shard, to)


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


def _metadata(
    source: Checkpoint, bundle_id: str, precision: str, letters: list[int], defaults: Defaults
) -> dict[str, str]:
    config = source.config
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "bundle_id": bundle_id,
        "precision": precision,
        "hidden_size": config.decoder.hidden_size,
        "levels": config.levels,
        "patch_size": config.vision.patch_size,
        "merge_size": config.vision.merge_size,
        "vocab_size": config.decoder.vocab_size,
        "letter_ids": ",".join(map(str, letters)),
        "image_pad_id": config.image_pad_id,
        "vision_start_id": config.vision_start_id,
        "vision_end_id": config.vision_end_id,
        "video_pad_id": config.video_pad_id,
        "keep_ratio": defaults.keep_ratio,
        "window": defaults.window,
        "stride": defaults.stride,
    }
    return {f"ziprerank.{key}": str(value) for key, value in values.items()}


def _model(source: Checkpoint) -> dict[str, Any]:
    vision, decoder = source.config.vision, source.config.decoder
    return {
        "hidden_size": decoder.hidden_size,
        "levels": source.config.levels,
        "vocab_size": decoder.vocab_size,
        "decoder": {
            "layers": decoder.layers,
            "heads": decoder.heads,
            "kv_heads": decoder.kv_heads,
            "head_dim": decoder.head_dim,
            "intermediate_size": decoder.intermediate_size,
        },
        "vision": {
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "heads": vision.heads,
            "intermediate_size": vision.intermediate_size,
            "deepstack": list(vision.deepstack),
        },
        "parameters": source.parameters,
    }


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


def _checksums(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """SHA-256 of every file by its path in ``folder``; ``known`` ones are not read again."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter free
        checksums = pool.map(lambda name: known.get(name) or _sha256(folder / name), names)
        return dict(zip(names, checksums, strict=True))


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _own_version() -> str:
    try:
        return version("ziprerank")
    except PackageNotFoundError:
        return "from source"
