"""Checkpoint in, bundle out: validate, write the weights, write the graphs, write the manifest (docs/bundle.md)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from safetensors.numpy import save_file
from ziprerank.kernels import compile_kernels

from .calibrate import activation_ranges
from .checkpoint import Checkpoint, Tensor, Tensors, read_shard
from .description import Description, Identity, image_rules
from .errors import ExportError
from .files import bring_shard, checksums, new_directory
from .identity import graph_digest, values_digest
from .manifest import write_manifest
from .options import Defaults, ExportOptions
from .pack import pack_weights
from .precision import Precision, precision_for
from .prompt import answer_ids, check_vision_tokens, parse_prompt
from .prompt_file import find_prompt
from .relate import build_relate
from .rerank import build_rerank, yes_no_row
from .vision import build_vision, fold_patch_embedding


@dataclass(frozen=True, slots=True)
class _Written:
    """The weights of a bundle, once they are in its folder.

    Attributes:
        precision: The precision of the graphs, for fp8 with its ranges.
        tensors: Where the checkpoint's weights are.
        derived: Where the weights are that the export computed.
        ranges: The ranges of activations that fp8 was calibrated to; empty for every other precision.
        files: SHA-256 of every file so far, by name.
    """

    precision: Precision
    tensors: Tensors
    derived: Mapping[str, Tensor]
    ranges: Mapping[str, float]
    files: Mapping[str, str]


def export_checkpoint(checkpoint: str | Path, out: Path, options: ExportOptions | None = None) -> Path:
    """Writes the bundle of a checkpoint.

    Args:
        checkpoint: A directory in Hugging Face format, or a hub id.
        out: The bundle: a new directory, which appears whole or not at all.
        options: What to export, and the defaults that the bundle recommends; None is ``ExportOptions()``.

    Returns:
        ``out``.

    Raises:
        CheckpointError: The checkpoint cannot be exported.
        ExportError: A default is out of range, calibration finds no pages, or ``out`` exists.
        KernelError: A pruning kernel does not compile for the model's shapes.
    """
    options = options or ExportOptions()
    description = _validate(checkpoint, out, options)
    with new_directory(out) as folder:
        written = _write_weights(description, options, folder)
        ids = _write_graphs(description, written, folder, kernels=options.kernels)
        write_manifest(folder, description.manifest(ids, written.precision, folder, written.files))
    return out


def _validate(checkpoint: str | Path, out: Path, options: ExportOptions) -> Description:
    """Opens the checkpoint and checks everything that can be checked before a file is written."""
    if out.exists():
        raise ExportError(f"{out} exists: choose a new directory, or remove it first")
    source = Checkpoint.open(str(checkpoint), revision=options.revision)
    file = find_prompt(source, options.prompt)
    prompt = parse_prompt(file.fields)
    check_vision_tokens(source)
    answers = answer_ids(file.fields, source.tokenizer_file)
    defaults = Defaults.of(file.fields, options, answers.most_pages)
    image = image_rules(source, file.fields, defaults)
    return Description(source, options.target, defaults, prompt, file, answers, image)


def _write_weights(description: Description, options: ExportOptions, folder: Path) -> _Written:
    """Brings or quantises the checkpoint's weights, computes the others, and copies the tokenizer."""
    source = description.source
    shutil.copyfile(source.tokenizer_file, folder / "tokenizer.json")
    derived = _derive(description, folder / "derived.safetensors")
    ranges = activation_ranges(description, derived, options.calibration) if options.calibration is not None else {}
    precision = precision_for(options.target, options.precision, ranges)
    tensors: Tensors = source
    if precision.packed:
        tensors = pack_weights(source, precision.linear, description.answers.letters, folder)
    else:
        for shard in source.shards:
            bring_shard(shard, folder / shard.name, options.weights)
    return _Written(precision, tensors, derived, ranges, checksums(folder))


def _derive(description: Description, file: Path) -> dict[str, Tensor]:
    image = description.image
    derived = fold_patch_embedding(description.source, tuple(image["mean"]), tuple(image["std"]))
    save_file(derived | yes_no_row(description.source, description.answers), file)
    file.chmod(0o644)
    return read_shard(file)


def _write_graphs(description: Description, written: _Written, folder: Path, *, kernels: bool) -> Identity:
    """Writes the graphs, and with ``kernels`` the pruning kernels for the model's shapes; returns the bundle's ids."""
    precision, config = written.precision, description.source.config
    graphs = {
        "vision.onnx": build_vision(written.tensors, written.derived, precision.vision),
        "rerank.onnx": build_rerank(written.tensors, written.derived, description.answers, precision.decoder),
    }
    digests = {name: graph_digest(graph) for name, graph in graphs.items()}
    ids = Identity(
        description.bundle_id(precision, written.ranges, written.files, digests),
        values_digest(graphs["vision.onnx"], folder),
    )
    if description.answers.letters:  # it follows from the two, and no score depends on it: it changes no id
        graphs["relate.onnx"] = build_relate(written.tensors, precision.decoder)
    for name, graph in graphs.items():
        graph.metadata_props.update(description.metadata(ids, precision))
        _save(graph, folder / name)
    if kernels:
        compile_kernels(folder / "kernels", config.decoder.hidden_size, precision.compute, config.levels)
    return ids


def _save(model: ir.Model, file: Path) -> None:
    ir.save(model, file)
    # The checker refuses weights in a hard-linked file. `Checkpoint` has checked where they are, so the checker sees
    # them as inputs.
    proto = onnx.load(file, load_external_data=False)
    proto.graph.input.extend(
        onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in proto.graph.initializer
    )
    del proto.graph.initializer[:]
    onnx.checker.check_model(proto, full_check=True)
