"""Writes a bundle's two graphs as a model repository for NVIDIA Triton Inference Server (ONNX Runtime backend)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

import onnx

from ziprerank.bundle import MANIFEST, Bundle
from ziprerank.errors import BundleError, InvalidInput
from ziprerank.export.files import bring_shard, new_directory

Device = Literal["cpu", "gpu"]

GRAPHS = ("vision", "rerank")
_TYPES = {
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.BOOL: "TYPE_BOOL",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.BFLOAT16: "TYPE_BF16",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the server runs the models.

    Attributes:
        device: ``"cpu"`` or ``"gpu"``.
        instances: Instances of each model.
        threads: Threads of each instance; 0 leaves the number to ONNX Runtime.
        at: The repository's path as the server sees it; None is the path that it is written to.
    """

    device: Device = "cpu"
    instances: int = 1
    threads: int = 0
    at: PurePosixPath | None = None


def write_repository(bundle_path: Path | None, out: Path, placement: Placement | None = None) -> Path:
    """Writes a model repository with the models ``vision`` and ``rerank``, their configurations, and a README.

    Weights are hard-linked if ``out`` is on the bundle's file system. For the CPU, libziprerank is copied into the
    repository and registered there; on a GPU, the graph's own definition of the operator runs.

    Args:
        bundle_path: The bundle's folder; None is the bundle inside the package.
        out: Folder to create.
        placement: Where the server runs the models; None is one instance on the CPU.

    Returns:
        ``out``.

    Raises:
        BundleError: The bundle cannot be read, or was exported for the other device.
        InvalidInput: ``out`` already exists, or the placement has too few instances or threads.
    """
    where = placement or Placement()
    if out.exists():
        raise InvalidInput(f"{out} already exists: write to a new folder")
    if where.instances < 1 or where.threads < 0:
        raise InvalidInput(
            f"{where.instances} instances of {where.threads} threads: give at least 1 instance and 0 or more threads"
        )
    bundle = Bundle.load(bundle_path)
    if (bundle.target == "cpu") != (where.device == "cpu"):
        raise BundleError(
            f"{bundle.path} was exported for {bundle.target}, but the repository is for {where.device}: "
            f"export with --target {'cpu' if where.device == 'cpu' else 'cuda'}, or choose the other device"
        )
    library = None
    if where.device == "cpu":
        library = str((where.at or PurePosixPath(out.absolute())) / "libziprerank.so")
    with new_directory(out) as folder:
        for graph in GRAPHS:
            version = folder / graph / "1"
            version.mkdir(parents=True)
            model = onnx.load(bundle.path / f"{graph}.onnx", load_external_data=False)
            shutil.copyfile(bundle.path / f"{graph}.onnx", version / "model.onnx")
            for shard in sorted(_shards(model)):
                bring_shard(bundle.path / shard, version / shard, "auto")
            text = config(model, graph, where, library if _has_own_operators(model) else None)
            (folder / graph / "config.pbtxt").write_text(text, encoding="utf-8")
        if library is not None:
            shutil.copyfile(_op_library(), folder / "libziprerank.so")
        for name in (MANIFEST, "tokenizer.json"):  # the client needs these
            shutil.copyfile(bundle.path / name, folder / name)
        readme = files("ziprerank.scale").joinpath("triton_readme.md").read_text(encoding="utf-8")
        (folder / "README.md").write_text(readme, encoding="utf-8")
    return out


def config(model: onnx.ModelProto, name: str, where: Placement, library: str | None) -> str:
    """Returns a model's ``config.pbtxt``, with the tensors that the graph declares and -1 for sizes that vary.

    ``max_batch_size`` is 0, because the first dimension is a window's tokens or pages, not a batch that Triton may fill
    with other requests. Memory patterns are off, because sizes vary from request to request. Instances share one
    session, and with it the weights.

    Args:
        model: The graph.
        name: The model's name on the server.
        where: Device, instances and threads.
        library: Path of libziprerank as the server sees it; None registers no library.
    """
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', 'default_model_filename: "model.onnx"', "max_batch_size: 0"]
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            sizes = [str(size.dim_value) if size.HasField("dim_value") else "-1" for size in tensor.shape.dim]
            lines.append(
                f'{kind} {{ name: "{value.name}" data_type: {_TYPES[tensor.elem_type]} dims: [ {", ".join(sizes)} ] }}'
            )
    kind = "KIND_CPU" if where.device == "cpu" else "KIND_GPU"
    lines += [
        f"instance_group {{ count: {where.instances} kind: {kind} }}",
        "version_policy { latest { num_versions: 1 } }",
        "optimization { graph { level: 0 } }",  # all of ONNX Runtime's optimizations; 1 is fewer, 2 is none
    ]
    parameters = {"enable_mem_pattern": "0", "share_session_between_instances": "true"}
    if where.threads:
        parameters["intra_op_thread_count"] = str(where.threads)
    for key, text in parameters.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{text}" }} }}')
    if library is not None:
        lines.append(f'model_operations {{ op_library_filename: "{library}" }}')
    return "\n".join(lines) + "\n"


def _has_own_operators(model: onnx.ModelProto) -> bool:
    return any(node.domain == "ziprerank" for node in model.graph.node)


def _op_library() -> Path:
    from ziprerank import _engine

    return Path(_engine.__file__).with_name("libziprerank.so")


def _shards(model: onnx.ModelProto) -> set[str]:
    """Returns the names of the files that hold the graph's weights."""
    return {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
