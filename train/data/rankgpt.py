"""RankGPT's distillation files: MS MARCO queries with retrieved passages, and a language model's order of them apart.

As its specialization.py reads them, ``marco-train-10k.jsonl`` and ``marco-train-10k-gpt3.5.json``:

    {"query": "...", "positive_passages": [...], "retrieved_passages": [{"docid": "...", "text": "..."}, ...]}
    ["[2] > [1] > ...", ...]          one order for each line, in the same order
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ziprerank.train.errors import TrainError

from .examples import ListwiseExample, string
from .rankzephyr import ORDER
from .rows import Faults, json_rows, skipping


def read_rankgpt(passages: Path, permutations: Path, faults: Faults | None = None) -> Iterator[ListwiseExample]:
    """Stream the examples of the two files; the orders are held in memory, some 100 bytes each.

    Args:
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Raises:
        TrainError: names the file and row at fault; or the files do not have the same number of rows.
    """
    orders = _orders(permutations)
    count = 0
    for name, row in json_rows(passages):  # a line that cannot be parsed would shift all orders behind it
        if count < len(orders):
            yield from skipping(partial(_example, row, orders[count], name), name, faults)
        count += 1
    if count != len(orders):
        raise TrainError(f"{passages} has {count} rows and {permutations} {len(orders)}: they must belong together")


def _orders(path: Path) -> list[str]:
    try:
        orders = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TrainError(f"{path} is not JSON ({error}): was the file cut off?") from error
    if not isinstance(orders, list) or not all(isinstance(order, str) for order in orders):
        raise TrainError(f"{path} must hold a list of strings such as '[2] > [1]'")
    return orders


def _example(row: Mapping[str, Any], order: str, name: str) -> ListwiseExample:
    retrieved = row.get("retrieved_passages")
    if not isinstance(retrieved, list) or not all(isinstance(passage, dict) for passage in retrieved):
        raise TrainError(f"'retrieved_passages' is {retrieved!r:.80}: it must be a list of {{'docid', 'text'}}")
    texts = tuple(string(passage, "text") for passage in retrieved)
    if not ORDER.fullmatch(order) or re.search("[A-Z]", order):
        raise TrainError(f"its order is {order!r:.80}: it must be numbers such as '[2] > [1]'")
    indices = tuple(int(number) - 1 for number in re.findall(r"\d+", order))
    return ListwiseExample(string(row, "query"), texts, indices, name)
