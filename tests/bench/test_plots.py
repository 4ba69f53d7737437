"""The picture of quality against latency: systems that rank alike share a recall, others have none."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ziprerank.comparison.plots import draw_quality, quality_points


def latency(system: str, keep_ratio: float, **more: Any) -> dict[str, Any]:
    row = {"what": "latency", "system": system, "keep_ratio": keep_ratio, "precision": "fp32", "checkpoint": "default"}
    row |= {"blank": "keep"}
    row |= {"candidates": 20, "longest_side": 1024, "start": "file", "total_ms": {"p50": 1000.0}}
    return row | more


def quality(bundle: str | None, keep_ratio: float | None, recall: float, **more: Any) -> dict[str, Any]:
    row = {"system": "ziprerank" if bundle else "bm25", "bundle": bundle, "keep_ratio": keep_ratio, "recall@1": recall}
    row |= {"longest_side": 1024, "window": 20, "document": "all", "kind": "all"}
    return row | more


QUALITY = [
    quality(None, None, 0.7, longest_side=None, window=None),
    quality("default", 0.5, 0.6),
    quality("default", 0.5, 0.65, blank="drop"),
    quality("default", 0.5, 0.1, kind="title"),
    quality("default", 0.25, 0.2, window=8),
    quality("default", 0.5, 0.8, blank="drop", system="ziprerank + BM25"),
    quality("starter", 1.0, 0.3),
]


def test_points_are_of_the_same_checkpoint_pages_and_keep_ratio() -> None:
    rows = [
        latency("ziprerank", 0.5),
        latency("ziprerank", 0.5, precision="int8"),
        latency("ziprerank", 0.5, candidates=5),
        latency("ziprerank", 0.25),
        latency("ziprerank", 0.5, blank="drop", total_ms={"p50": 500.0}),
        latency("ziprerank", 1.0, blank="drop"),
        latency("transformers_pruned", 0.5, total_ms={"p50": 4000.0}),
        latency("pointwise", 1.0),
    ]
    points = quality_points(rows, QUALITY, 1024)
    assert [(row["system"], row["total_ms"]["p50"], recall) for row, recall in points] == [
        ("ziprerank", 1000.0, 0.6),
        ("ziprerank", 500.0, 0.65),
        ("transformers_pruned", 4000.0, 0.6),
    ]
    assert quality_points(rows, QUALITY, 288) == []
    figure = draw_quality(points, QUALITY)
    (axis,) = figure.axes
    drawn = [tuple(map(float, (line.get_xdata()[0], line.get_ydata()[0]))) for line in axis.lines[:3]]
    assert drawn == [(1.0, 0.6), (0.5, 0.65), (4.0, 0.6)]
    assert axis.lines[3].get_ydata()[0] == 0.7


def test_names_of_lines_are_not_printed_over_one_another() -> None:
    """Also where systems have the same recall; lines of fused systems are left out."""
    recalls = {"chance": 0.05, "MiniLM": 0.695, "OCR": 0.775, "bm25": 0.775, "another": 0.78, "MiniLM + BM25": 0.781}
    rows = [quality(None, None, recall, system=name) for name, recall in recalls.items()]
    points = quality_points([latency("ziprerank", 0.5)], QUALITY, 1024)
    figure = draw_quality(points, rows)
    (axis,) = figure.axes
    drawn = {text.get_text(): text for text in axis.texts}
    assert list(drawn) == [name for name in recalls if name != "MiniLM + BM25"]
    assert [line.get_ydata()[0] for line in axis.lines[1:]] == [recalls[name] for name in drawn]
    for dpi in (100, 120):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        boxes = {name: text.get_window_extent() for name, text in drawn.items()}
        for one, other in combinations(boxes.values(), 2):
            assert min(one.y1, other.y1) - max(one.y0, other.y0) < 0.5
        for name, box in boxes.items():  # beside its line, or above that where there is no room
            line = axis.transData.transform((1, recalls[name]))[1]
            assert box.y1 > line
            assert (box.y0 < line) == (name not in ("bm25", "another"))
            assert box.x0 > axis.get_window_extent().x1
            assert box.x1 < figure.bbox.x1
