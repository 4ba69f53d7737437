"""Counts, without a GPU, what rankings ask of one: ``python -m bench.gpu --count``.

The bundle ranks pages on the hollow GPU of the tests, whose log has the launches and the products.
ONNX Runtime's profile of the same run has the shapes of every node; from them come

- operations of attention: 4 Q S D for Q queries and S keys of together D values, half of it where it is causal;
- bytes of all other kernels: what they read and write. A Gather reads the rows that it writes, a Slice as well; Reshape
  and its like move nothing; a Gemm with a bias writes its output once more, before the product; MatMulNBits (int8,
  int4) unpacks its weights before a product of more than one row.

Bytes of the pruning kernels are those of kernels.py.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundles import shapes
from .document import ROOT, Row
from .prediction import Rates, Work

if TYPE_CHECKING:
    from hollow import HollowGpu
    from hollow.record import Part
    from ziprerank.bundle import Bundle

KEEP_RATIOS = (1.0, 0.5, 0.25)
POOL_BYTES = 2 << 30  # of the 8B model 80 Letter pages
LARGE_COPY = 1 << 20  # bytes; such copies are of weights, and are not carried out

UNPACKED = "weights of MatMulNBits unpacked"

_PRODUCTS = ("Gemm", "MatMul", "FusedMatMul", "Conv")
_ATTENTION = ("Attention", "MultiHeadAttention", "GroupQueryAttention")
_VIEWS = ("Reshape", "Unsqueeze", "Squeeze", "Shape", "Identity", "Flatten", "QueryImagePrune")
_BYTES = {
    "float": 4, "float16": 2, "bfloat16": 2, "double": 8, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1,
}  # fmt: skip
_ELEMENT = {0: 4, 2: 2, 14: 2, 3: 1}  # bytes by cudaDataType


def hollow_gpu(folder: Path) -> HollowGpu:
    """Makes the tests' hollow GPU in ``folder``. Raises SystemExit with the reason where it cannot be had."""
    sys.path.append(str(ROOT / "tests"))
    from hollow import Unavailable, prepare

    try:
        return prepare(folder)
    except Unavailable as reason:
        raise SystemExit(f"no hollow GPU: {reason}") from None


def count(
    gpu: HollowGpu, bundle: Bundle, page: tuple[int, int], pages: Sequence[int], rates: Rates, folder: Path
) -> Iterator[Row]:
    """Yields a row for each stage of each ranking: the tower once for a number of pages, the others by keep ratio.

    Args:
        gpu: the hollow GPU.
        bundle: a CUDA bundle.
        page: height and width of every page in px.
        pages: numbers of pages, each at most a window.
        rates: for the predictions.
        folder: for the log and the profile; it must be empty.
    """
    from hollow import Step
    from ziprerank.kernels.launch import KERNELS

    names = tuple(kernel.name for kernel in KERNELS)
    steps, first_seed = [], 0
    for number in pages:  # new pages, then the same pages from memory at each keep ratio
        seeds = range(first_seed, first_seed + number)
        first_seed += number
        steps += [Step([page] * number, keep, seeds=seeds) for keep in (KEEP_RATIOS[0], *KEEP_RATIOS)]
    run = gpu.rank(
        bundle.path,
        folder / "log",
        steps,
        profile=folder / "profile",
        skip=LARGE_COPY,
        options={"pool_bytes": POOL_BYTES, "check": "size"},
    )
    output = run.output
    failures = [output] if "error" in output else [step for step in output["steps"] if "error" in step]
    if failures:
        raise RuntimeError(f"{failures[0]['error'][1]}")
    vision, decoder = (_runs(folder, graph) for graph in ("vision", "rerank"))
    if len(vision) != sum(pages) or len(decoder) != len(steps):
        raise RuntimeError(f"the profile has {len(vision)} pages and {len(decoder)} queries, not one for each")
    parts = [run.record.parts[f"step {number}"] for number in range(len(steps))]
    common = {**shapes(bundle, page), "onnxruntime_gpu": gpu.version}
    done = 0
    for place, number in enumerate(pages):
        first = place * (1 + len(KEEP_RATIOS))
        new, again = parts[first], parts[first + 1]
        nodes = [node for page_nodes in vision[done : done + number] for node in page_nodes]
        done += number
        tower = _work(nodes, _products(new)[: len(new.gemms) - len(again.gemms)], causal=False)
        tower.launches = len(new.launches) + len(new.gemms) - len(again.launches) - len(again.gemms)
        stage = {"what": "count", "pages": number}
        yield {**stage, "stage": "vision", "keep_ratio": None, **tower.row(rates), **common}
        for at, keep in enumerate(KEEP_RATIOS, first + 1):
            found = output["steps"][at]
            tokens = {
                "text_tokens": found["text"],
                "visual_tokens": sum(found["tokens"]),
                "kept_tokens": sum(map(len, found["kept"])),
            }
            part = parts[at]
            prune = [launch for launch in part.launches if any(name in launch.kernel for name in names)]
            query = _work(decoder[at], _products(part), causal=True)
            query.launches = len(part.launches) + len(part.gemms) - len(prune)
            pruning = _pruning(len(prune), number, tokens, bundle)
            for name, work in (("prune", pruning), ("decoder", query)):
                yield {**stage, "stage": name, "keep_ratio": keep, **tokens, **work.row(rates), **common}


def _pruning(launches: int, pages: int, tokens: dict[str, int], bundle: Bundle) -> Work:
    from .kernels import Counts

    work = Work(launches)
    if launches:
        counts = Counts(
            visual=tokens["visual_tokens"],
            text=tokens["text_tokens"],
            hidden=bundle.model["hidden_size"],
            pages=pages,
            kept=tokens["kept_tokens"],
            element=2,
        )
        for name, moved in counts.bytes.items():
            work.add(name, moved)
    return work


def _products(part: Part) -> list[tuple[int, int]]:
    """Operations and bytes of each product, in the order of the calls."""
    return [
        (gemm.flops, gemm.batch * _ELEMENT[gemm.type] * (gemm.m * gemm.k + gemm.k * gemm.n + gemm.m * gemm.n))
        for gemm in part.gemms
    ]


def _runs(folder: Path, graph: str) -> list[list[dict[str, Any]]]:
    """What the profile says about the nodes of each run of a graph, in order."""
    file = next(folder.glob(f"profile.{graph}_*.json"))
    runs: list[list[dict[str, Any]]] = [[]]
    for event in json.loads(file.read_text()):
        if event["name"] == "model_run":
            runs.append([])
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[-1].append(event["args"])
    return runs[:-1]


def _work(nodes: Sequence[dict[str, Any]], products: list[tuple[int, int]], *, causal: bool) -> Work:
    """Work of the nodes on the GPU, but for the launches."""
    work = Work(products=products)
    for node in nodes:
        operator = node["op_name"]
        if node["provider"] != "CUDAExecutionProvider" or operator in _VIEWS:
            continue
        inputs, outputs = ([_size(tensor) for tensor in node[f"{kind}_type_shape"]] for kind in ("input", "output"))
        if operator in _PRODUCTS:
            if operator == "Gemm" and len(inputs) == 3:
                work.add("bias of Gemm", outputs[0])
        elif operator == "MatMulNBits":
            _add_packed(work, node, sum(inputs) + sum(outputs))
        elif operator in _ATTENTION:
            queries, keys = (next(iter(tensor.values())) for tensor in node["input_type_shape"][:2])
            whole = 4 * queries[-2] * keys[-2] * queries[-1]
            work.attention += whole // 2 if causal and queries[-2] == keys[-2] else whole
        elif operator in ("Gather", "Slice"):
            work.add(operator, 2 * sum(outputs) + sum(inputs[1:]))
        else:
            work.add(operator, sum(inputs) + sum(outputs))
    return work


def _add_packed(work: Work, node: dict[str, Any], moved: int) -> None:
    """Counts what a product with packed weights does beside cuBLAS's, which reads them as numbers of the activations.

    For one row of activations a kernel of its own multiplies, and ``moved`` is all that it reads and writes.
    """
    (activations,), (codes,), (scales,) = (list(tensor.items()) for tensor in node["input_type_shape"][:3])
    kind, (*rows, width) = activations
    if math.prod(rows) == 1:
        work.add("MatMulNBits of one row", moved)
    else:
        packed = _size(dict([codes])) + _size(dict([scales]))
        work.add(UNPACKED, packed + _BYTES[kind] * width * codes[1][0])


def _size(tensor: dict[str, list[int]]) -> int:
    return sum(_BYTES[kind] * math.prod(shape) for kind, shape in tensor.items())
