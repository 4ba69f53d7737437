"""Plans: a bundle's graphs built ahead of time for TensorRT-RTX or TensorRT, in the bundle itself (docs/bundle.md).

A plan is an ONNX graph of one ``EPContext`` node beside the serialised engine, in a folder named after its provider.
ONNX Runtime's provider of that name loads it without building anything. TensorRT-RTX builds without a GPU. TensorRT
builds on the GPU, and only ``vision.onnx``: the pruning operator, which libziprerank runs, splits ``rerank.onnx``, so
the engine's first session builds the parts on either side of it and keeps them.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
from onnx import helper

from .errors import ExportError
from .files import checksums, new_directory
from .manifest import precision_name, read_manifest, write_manifest
from .profiles import Shapes, profiles
from .prune import OP_NAME

GRAPHS = ("vision.onnx", "rerank.onnx")
PLAN = "plan.txt"
RTX, TENSORRT = "tensorrt-rtx", "tensorrt"
PROVIDERS = {RTX: "NvTensorRTRTXExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
CAPABILITIES = ("8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT-RTX builds for and that its provider for ONNX Runtime runs on."""
FP8_CAPABILITIES = ("8.9", "12.0", "12.1")


def build_plans(bundle: Path, provider: str, capabilities: Sequence[str] = ()) -> dict[str, Any]:
    """Builds a bundle's graphs for a provider, in place of earlier plans for it, and records them in the manifest.

    Args:
        bundle: Exported for ``cuda`` in bf16, fp16 or, for ``tensorrt-rtx``, fp8.
        provider: ``tensorrt-rtx`` (no GPU needed) or ``tensorrt`` (on the GPU that will run it).
        capabilities: Compute capabilities such as ``8.9``, for ``tensorrt-rtx``; if empty, all that can run the
            precision.

    Returns:
        The manifest's entry.

    Raises:
        ExportError: The bundle, the provider and the capabilities are incompatible, the builder rejects a graph, or
            there is no GPU for ``tensorrt``.
        ImportError: A package that builds is missing.
    """
    manifest = read_manifest(bundle)
    if provider not in PROVIDERS:
        raise ExportError(f"provider {provider!r} is unknown: plans are built for {' or '.join(PROVIDERS)}")
    precision = precision_name(manifest)
    if manifest["target"] != "cuda" or precision not in ("bf16", "fp16", "fp8"):
        raise ExportError(
            f"{bundle} was exported for {manifest['target']} in {precision}: plans need standard operators in half "
            "precision, export it with --target cuda --precision bf16, fp16 or fp8"
        )
    if provider == TENSORRT and capabilities:
        raise ExportError("compute capabilities for tensorrt: it builds for the GPU of this machine, leave them out")
    if provider == TENSORRT and precision == "fp8":
        raise ExportError(
            "fp8 for tensorrt: ONNX Runtime's TensorRT provider does not build it, use --provider tensorrt-rtx, "
            "or export with --precision bf16"
        )
    shapes = profiles(manifest)
    graphs: Sequence[str] = GRAPHS if provider == RTX else GRAPHS[:1]
    if provider == RTX:
        chosen, builder = _checked_capabilities(capabilities, precision), "TensorRT-RTX"
    else:
        chosen, builder = [_gpu()], "TensorRT of"
        shapes["rerank.onnx"] |= between_partitions(bundle / "rerank.onnx", shapes["rerank.onnx"])
    with new_directory(bundle / f".{provider}.new") as folder:
        for graph in graphs:
            if provider == RTX:
                _build_rtx(bundle / graph, folder, shapes[graph], chosen)
            else:
                _build_tensorrt(bundle / graph, folder, shapes[graph], precision)
        (folder / PLAN).write_text(_plan_text(f"{builder} {_version(provider)}", precision, chosen, shapes))
    _forget(bundle, provider)
    (bundle / f".{provider}.new").rename(bundle / provider)
    entry = {
        "provider": provider,
        "version": _version(provider),
        "compute_capabilities": chosen,
        "graphs": {graph: f"{provider}/{graph}" for graph in graphs},
        "profiles": shapes,
    }
    manifest = read_manifest(bundle)
    built = {
        f"{provider}/{name}": {"size": (bundle / provider / name).stat().st_size, "sha256": digest}
        for name, digest in checksums(bundle / provider).items()
    }
    plans = [*manifest.get("plans", []), entry]
    write_manifest(bundle, {**manifest, "files": {**manifest["files"], **built}, "plans": plans})
    return entry


def _plan_text(builder: str, precision: str, capabilities: Sequence[str], shapes: Mapping[str, Shapes]) -> str:
    """Returns the text of ``plan.txt``: what the engine needs of a plan's entry, without JSON (docs/bundle.md)."""
    lines = ["ziprerank-plan 1", f"builder {builder}", f"precision {precision}"]
    lines += [f"capability {capability}" for capability in capabilities]
    for graph, tensors in shapes.items():
        for tensor, sizes in tensors.items():
            lines.append(" ".join(["profile", graph, tensor, *("x".join(map(str, size)) for size in sizes)]))
    return "\n".join(lines) + "\n"


def between_partitions(graph: Path, shapes: Shapes) -> Shapes:
    """Returns the sizes of the values of ``rerank.onnx`` that cross the pruning operator.

    TensorRT needs the sizes of all inputs of the part that it builds. ``text [T, H]`` is an input of the operator and
    of the decoder behind it, ``kept [M]`` is the operator's output. Each has a second name where ONNX Runtime's
    optimiser removes a redundant cast or copy.
    """
    nodes = onnx.load(graph, load_external_data=False).graph.node
    (prune,) = (node for node in nodes if node.op_type == OP_NAME)
    text, kept = prune.input[4], prune.output[0]
    texts = {text} | {node.input[0] for node in nodes if text in node.output}
    copies = {kept} | {node.output[0] for node in nodes if node.op_type == "Identity" and kept in node.input}
    hidden, rows = shapes["pool"][0][-1], shapes["rows"]
    usual = shapes["layout"][1][0] - shapes["text_ids"][1][0]
    text_sizes = [[*size, hidden] for size in shapes["text_ids"]]
    kept_sizes = [rows[0], [usual], rows[2]]
    return dict.fromkeys(sorted(texts), text_sizes) | dict.fromkeys(sorted(copies), kept_sizes)


def _checked_capabilities(capabilities: Sequence[str], precision: str) -> list[str]:
    known = FP8_CAPABILITIES if precision == "fp8" else CAPABILITIES
    for capability in capabilities:
        if capability not in known:
            raise ExportError(
                f"compute capability {capability} in {precision}: TensorRT-RTX builds it for {', '.join(known)}"
            )
    return list(dict.fromkeys(capabilities or known))


def _build_rtx(graph: Path, folder: Path, shapes: Shapes, capabilities: Sequence[str]) -> None:
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        errors = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise ExportError(f"TensorRT-RTX {trt.__version__} does not parse {graph}: {errors}")
    _check_inputs(network, graph)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}"), number)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(
            f"TensorRT-RTX {trt.__version__} does not build {graph} for {', '.join(capabilities)}: "
            "see its messages above"
        )
    engine = folder / f"{graph.stem}.engine"
    with engine.open("wb") as stream:
        stream.write(memoryview(plan))
    _write_context(graph, folder, engine.name, _version(RTX), capabilities)


def _check_inputs(network: Any, graph: Path) -> None:
    """Checks that a layer reads every input: the parser silently drops what it does not understand.

    Raises:
        ExportError: An input is read by no layer.
    """
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    read = {value.name for layer in layers for i in range(layer.num_inputs) if (value := layer.get_input(i))}
    inputs = {network.get_input(number).name for number in range(network.num_inputs)}
    if not inputs <= read:
        dropped = ", ".join(sorted(inputs - read))
        raise ExportError(f"TensorRT-RTX drops the inputs {dropped} of {graph}: use another version of it")


def _write_context(graph: Path, folder: Path, engine: str, version: str, capabilities: Sequence[str]) -> None:
    """Writes ``folder / graph.name``: the graph's inputs, outputs and metadata, and one node that names the engine."""
    model = onnx.load(graph, load_external_data=False)
    attributes: dict[str, Any] = {
        "main_context": 1,
        "embed_mode": 0,
        "ep_cache_context": engine,
        "ep_sdk_version": version,
        "source": PROVIDERS[RTX],
        "partition_name": graph.stem,
        "onnx_model_filename": graph.name,
    }
    if len(capabilities) == 1:  # the attribute holds one only, and the provider compares it with its GPU's
        attributes["hardware_architecture"] = capabilities[0].replace(".", "")
    inputs, outputs = list(model.graph.input), list(model.graph.output)
    node = helper.make_node(
        "EPContext", [i.name for i in inputs], [o.name for o in outputs], domain="com.microsoft", **attributes
    )
    context = helper.make_model(
        helper.make_graph([node], graph.stem, inputs, outputs),
        opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)],
        ir_version=model.ir_version,
        producer_name="ziprerank",
    )
    helper.set_model_props(context, {entry.key: entry.value for entry in model.metadata_props})
    onnx.save(context, folder / graph.name)


def inline_functions(graph: Path) -> onnx.ModelProto:
    """Returns a graph with every operator that has a body replaced by it."""
    return onnx.inliner.inline_local_functions(onnx.load(graph, load_external_data=False))


def _build_tensorrt(graph: Path, folder: Path, shapes: Shapes, precision: str) -> None:
    import onnxruntime as ort

    name = PROVIDERS[TENSORRT]
    if name not in ort.get_available_providers():
        raise ExportError(f'ONNX Runtime {ort.__version__} has no {name}: pip install "ziprerank[tensorrt]"')
    limits = {
        f"trt_profile_{limit}_shapes": ",".join(
            f"{tensor}:{'x'.join(map(str, sizes[number]))}" for tensor, sizes in shapes.items()
        )
        for number, limit in ((0, "min"), (1, "opt"), (2, "max"))
    }
    options = {
        **limits,
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_embed_mode": "0",
        "trt_ep_context_file_path": str(folder / graph.name),
        f"trt_{precision}_enable": "1",
    }
    # as a whole: ONNX Runtime would keep the operators for which another provider has a kernel
    inlined = graph.with_name(f".{graph.name}")  # beside the weights
    try:
        onnx.save(inline_functions(graph), inlined)
        session = ort.InferenceSession(inlined, providers=[(name, options)])
    finally:
        inlined.unlink(missing_ok=True)
    context = folder / graph.name
    if session.get_providers()[0] != name or not context.is_file():
        raise ExportError(f"TensorRT did not take {graph} as a whole: see ONNX Runtime's messages above")
    model = onnx.load(context, load_external_data=False)
    original = onnx.load(graph, load_external_data=False)
    helper.set_model_props(model, {entry.key: entry.value for entry in original.metadata_props})
    onnx.save(model, context)


def _gpu() -> str:
    """Asks the CUDA driver for the compute capability of its first GPU, such as ``8.9``.

    Raises:
        ExportError: There is no driver or no GPU.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        driver = None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise ExportError(
            "provider tensorrt builds on the GPU that will run the plan, and this machine has none: run this command "
            "there, or build for --provider tensorrt-rtx, which needs no GPU"
        )
    for value, attribute in ((major, 75), (minor, 76)):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return f"{major.value}.{minor.value}"


def _version(provider: str) -> str:
    if provider == RTX:
        import tensorrt_rtx

        return str(tensorrt_rtx.__version__)
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _forget(bundle: Path, provider: str) -> None:
    """Removes the plans for ``provider`` from the manifest, then from the bundle."""
    manifest = read_manifest(bundle)
    plans = [plan for plan in manifest.get("plans", []) if plan["provider"] != provider]
    files: Mapping[str, Any] = {
        name: entry for name, entry in manifest["files"].items() if not name.startswith(f"{provider}/")
    }
    write_manifest(bundle, {**manifest, "files": files, "plans": plans})
    shutil.rmtree(bundle / provider, ignore_errors=True)
