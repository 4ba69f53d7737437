"""Which provider ran each node of both graphs, as ONNX Runtime's profile of a run says."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAPHS = ("vision", "rerank")
SHAPE_VALUES = 8  # a shape has no more


@dataclass(frozen=True)
class Placement:
    """The nodes of one graph in one run of it.

    Attributes:
        gpu: Operators on the CUDA provider.
        shapes: Operators on the CPU that read and write integers only, at most `SHAPE_VALUES` of them.
        cpu: All other operators on the CPU: they need data of the GPU, or make what it needs.
        copies: Copies that ONNX Runtime put between the two.
    """

    gpu: Counter[str]
    shapes: Counter[str]
    cpu: Counter[str]
    copies: Counter[str]


def read_placement(prefix: Path, graph: str) -> Placement:
    """Reads the profile that a run with ``profile=prefix`` left of ``vision`` or ``rerank``.

    Raises:
        FileNotFoundError: The run left none.
    """
    file = next(iter(prefix.parent.glob(f"{prefix.name}.{graph}_*.json")), None)
    if file is None:
        raise FileNotFoundError(f"{prefix}.{graph}_*.json")
    nodes: dict[str, dict[str, Any]] = {}
    for event in json.loads(file.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["name"]] = event["args"]  # a node runs many times
    found = Placement(Counter(), Counter(), Counter(), Counter())
    for args in nodes.values():
        operator = args["op_name"]
        if operator.startswith("Memcpy"):
            found.copies[operator] += 1
        elif args["provider"] == "CUDAExecutionProvider":
            found.gpu[operator] += 1
        elif _only_shapes(args):
            found.shapes[operator] += 1
        else:
            found.cpu[operator] += 1
    return found


def _only_shapes(args: dict[str, Any]) -> bool:
    tensors = [*args["input_type_shape"], *args["output_type_shape"]]
    return all(
        kind in ("int64", "int32") and math.prod(shape) <= SHAPE_VALUES
        for tensor in tensors
        for kind, shape in tensor.items()
    )
