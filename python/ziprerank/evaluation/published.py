"""What others published on the same data, to stand beside a run's own rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A row of a table.

    Attributes:
        name: Of the method.
        recall_1: Macro recall@1 in percent.
        recall_3: Macro recall@3 in percent.
        seconds: Of the language model for a query, without the vision tower; None for none.
    """

    name: str
    recall_1: float
    recall_3: float
    seconds: float | None


MMDOCIR_SOURCE = (
    "arXiv 2605.11864: MMDocIR's pages, 20 candidates of ColQwen, macro recall, on a GPU of the H200's class"
)
MMDOCIR = (
    Published("first stage alone (ColQwen)", 60.4, 79.0, None),
    Published("Qwen3-VL-8B-Instruct, autoregressive listwise", 29.8, 73.9, 2.47),
    Published("MM-R5", 68.5, 83.0, 3.74),
    Published("LamRA, listwise", 65.4, 82.0, 0.55),
    Published("UniME, listwise", 59.3, 79.8, 0.25),
    Published("GPT-5-mini", 70.9, 88.6, 24.70),
    Published("ZipRerank, keep ratio 1", 66.1, 84.9, 0.36),
    Published("ZipRerank, keep ratio 0.5", 63.9, 83.8, 0.31),
)
