"""What a stage asks of a GPU, and how long that would take at given rates: a prediction, never a measurement.

A product takes the longer of its operations at ``tflops`` and its bytes at ``tb_s``; attention its operations; every
other kernel its bytes.
Kernels run one after the other, so their times add up.
The host launches kernels ahead of the GPU, ``launch_us`` for each: a stage takes the longer of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .aims import CACHED, FIRST
from .document import RESULTS, Row, read_rows, with_section

ROWS = RESULTS / "count_gpu.jsonl"
BEGIN, END = "<!-- counted: written by python -m bench.gpu --count -->\n", "<!-- /counted -->\n"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a GPU is assumed to do; the defaults are those of one H200.

    Attributes:
        tflops: 10^12 operations a second in products and attention.
        tb_s: 10^12 bytes a second of memory, read or written.
        launch_us: microseconds in which the host launches a kernel.
    """

    tflops: float = 790.0
    tb_s: float = 3.0
    launch_us: float = 4.0


@dataclass
class Work:
    """What one stage asks of the GPU.

    Attributes:
        launches: kernels, products included.
        products: operations and bytes of each matrix product.
        attention: operations in attention.
        other: nodes and bytes of all other kernels, by operator.
    """

    launches: int = 0
    products: list[tuple[int, int]] = field(default_factory=list)
    attention: int = 0
    other: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, operator: str, moved: int) -> None:
        """Counts one node of ``operator`` that moves so many bytes."""
        nodes, before = self.other.get(operator, (0, 0))
        self.other[operator] = nodes + 1, before + moved

    @property
    def other_bytes(self) -> int:
        """Bytes of all kernels that are neither a product nor attention."""
        return sum(moved for _, moved in self.other.values())

    def predicted_ms(self, rates: Rates) -> dict[str, float]:
        """Milliseconds of each kind of work, and of the stage (``all``)."""
        operations, moved = 1e9 * rates.tflops, 1e9 * rates.tb_s
        out = {
            "gemm": sum(max(count / operations, size / moved) for count, size in self.products),
            "attention": self.attention / operations,
            "other": self.other_bytes / moved,
            "launches": self.launches * rates.launch_us / 1e3,
        }
        out["all"] = max(out["gemm"] + out["attention"] + out["other"], out["launches"])
        return {name: _short(value) for name, value in out.items()}

    def row(self, rates: Rates) -> Row:
        """The counts and the prediction, for a results row."""
        largest = sorted(self.other.items(), key=lambda item: -item[1][1])
        return {
            "launches": self.launches,
            "gemm_tflop": _short(sum(count for count, _ in self.products) / 1e12),
            "attention_tflop": _short(self.attention / 1e12),
            "other_gb": _short(self.other_bytes / 1e9),
            "other": {name: {"nodes": nodes, "gb": _short(moved / 1e9)} for name, (nodes, moved) in largest},
            "predicted_ms": self.predicted_ms(rates),
            "rates": asdict(rates),
        }


def fitting(counts: Iterable[Row], shapes: Row) -> list[Row]:
    """Returns the counts of the same work: of a model, a precision and pages as `bundles.shapes` gives them."""
    return [row for row in counts if all(row[name] == value for name, value in shapes.items())]


def predicted_latencies(counts: Iterable[Row], provider: str) -> list[Row]:
    """Returns the counts as rows that compare.py would measure: the engine's stages, whose decoder includes pruning.

    Args:
        counts: rows of ``--count``.
        provider: what the rows name.

    Returns:
        For each number of pages and keep ratio a row for new pages and one for cached ones.
        ``floor_ms`` is what products and attention alone would take.
    """
    counts = list(counts)
    towers = {row["pages"]: row["predicted_ms"] for row in counts if row["stage"] == "vision"}
    prunes = {(row["pages"], row["keep_ratio"]): row["predicted_ms"] for row in counts if row["stage"] == "prune"}
    out = []
    for row in counts:
        if row["stage"] == "decoder":
            pages, keep_ratio = row["pages"], row["keep_ratio"]
            decoder = _short(row["predicted_ms"]["all"] + prunes[pages, keep_ratio]["all"])
            floor = row["predicted_ms"]["gemm"] + row["predicted_ms"]["attention"]
            for start, tower in ((FIRST, towers[pages]["all"]), (CACHED, 0.0)):
                out.append(
                    {
                        "what": "latency",
                        "system": "ziprerank",
                        "provider": provider,
                        "pages": pages,
                        "keep_ratio": keep_ratio,
                        "start": start,
                        "stages_ms": {"vision": {"p50": tower}, "decoder": {"p50": decoder}},
                        "total_ms": {"p50": tower + decoder},
                        "floor_ms": {"decoder": floor},
                    }
                )
    return out


def beside(measured: Iterable[Row], predicted: Iterable[Row]) -> list[Row]:
    """Returns a row for each stage that was both measured and predicted (`predicted_latencies`), with both times."""
    expected = {_case(row): row["stages_ms"] for row in predicted}
    out = []
    for row in measured:
        stages = expected.get(_case(row), {}) if row["what"] == "latency" else {}
        for stage, told in stages.items():
            if told["p50"] > 0:
                case = {name: row[name] for name in _CASE}
                both = {"predicted_ms": told["p50"], "measured_ms": row["stages_ms"][stage]["p50"]}
                out.append({"what": "prediction", **case, "stage": stage, **both})
    return out


def beside_line(row: Row) -> str:
    """A row of `beside` as a line."""
    return (
        f"{row['stage']:<8} {row['pages']:>2} pages, keep {row['keep_ratio']:<4} {row['start']:<7}"
        f" predicted {row['predicted_ms']:>8.4g} ms, measured {row['measured_ms']:>8.4g} ms"
    )


_CASE = ("system", "provider", "pages", "keep_ratio", "start")


def _case(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in _CASE)


def tables(rows: Sequence[Row]) -> str:
    """The rows as tables in Markdown, for each precision one; every time in them is predicted.

    The tower is the same in all precisions, and stands in the first table only.
    """
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    out = [table([row for row in rows if row["precision"] == precisions[0]])]
    for precision in precisions[1:]:
        own = [row for row in rows if row["precision"] == precision and row["stage"] == "decoder"]
        out.append(f"In {precision}:\n\n{table(own)}")
    return "\n".join(out)


def table(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown."""
    lines = [
        "| stage | pages | keep ratio | launches | GEMM, TFLOP | attention, TFLOP | other kernels, GB "
        "| predicted: kernels, ms | predicted: launches, ms | predicted: stage, ms |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        ms = row["predicted_ms"]
        kernels = ms["gemm"] + ms["attention"] + ms["other"]
        keep = "any" if row["keep_ratio"] is None else f"{row['keep_ratio']:g}"
        cells = [row["stage"], str(row["pages"]), keep, f"{row['launches']:,}"]
        cells += [f"{row[name]:.3g}" for name in ("gemm_tflop", "attention_tflop", "other_gb")]
        cells += [f"{value:.3g}" for value in (kernels, ms["launches"], ms["all"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_tables(text: str, rows: Sequence[Row]) -> str:
    """Returns the text of docs/gpu.md with the tables between its markers written again."""
    return with_section(text, BEGIN, END, tables(rows))


def read_counts() -> list[Row]:
    """Returns the committed rows."""
    return read_rows(ROWS)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
