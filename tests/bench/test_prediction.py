"""Predicted times by hand, and what is shown beside what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from bench.gpu.aims import aim_line, aims
from bench.gpu.document import PAGE
from bench.gpu.prediction import (
    Rates,
    Work,
    beside,
    fitting,
    predicted_latencies,
    read_counts,
    table,
    with_tables,
)

RATES = Rates(tflops=1.0, tb_s=1.0, launch_us=1000.0)  # a billion operations or bytes, and one launch, are 1 ms


def work(**values: Any) -> Work:
    out = Work(launches=2, products=[(4 * 10**9, 10**9), (10**9, 3 * 10**9)], attention=10**9, **values)
    out.add("Mul", 5 * 10**8)
    out.add("Mul", 5 * 10**8)
    return out


def test_kernels_add_up_and_a_product_takes_the_longer_of_operations_and_bytes() -> None:
    ms = work().predicted_ms(RATES)
    assert ms == {"gemm": 7.0, "attention": 1.0, "other": 1.0, "launches": 2.0, "all": 9.0}
    assert work().row(RATES)["other"] == {"Mul": {"nodes": 2, "gb": 1.0}}


def test_a_stage_takes_as_long_as_its_launches_where_they_take_longer() -> None:
    assert Work(launches=2, attention=10**9).predicted_ms(RATES)["all"] == 2.0


@pytest.fixture
def counts() -> list[dict[str, Any]]:
    rows = [{"stage": "vision", "pages": 20, "keep_ratio": None, **work().row(RATES)}]
    for keep_ratio, operations in ((1.0, 17), (0.5, 7)):
        rows.append({"stage": "prune", "pages": 20, "keep_ratio": keep_ratio, **Work(launches=1).row(RATES)})
        decoder = Work(products=[(operations * 10**9, 0)])
        decoder.add("Mul", 2 * 10**9)
        rows.append({"stage": "decoder", "pages": 20, "keep_ratio": keep_ratio, **decoder.row(RATES)})
    return rows


def test_aims_are_predicted_as_they_are_measured(counts: list[dict[str, Any]]) -> None:
    found = {aim.what: aim.reached for aim in aims(predicted_latencies(counts, "cuda"), "cuda", "bf16")}
    assert found["decoder at keep 1 by keep 0.5, 20 pages"] == 2.0  # 17 + 2 + 1 by 7 + 2 + 1
    assert found["decoder at keep 1 by its floor, 20 pages"] == pytest.approx(20 / 17)
    assert found["transformers with pruning by ziprerank at keep 0.5, first query, 20 pages"] is None


def test_predicted_stands_beside_measured(counts: list[dict[str, Any]]) -> None:
    predicted = predicted_latencies(counts, "cuda")
    measured = next(row for row in predicted if row["keep_ratio"] == 0.5 and row["start"] == "first")
    measured = {**measured, "stages_ms": {"vision": {"p50": 10.0}, "decoder": {"p50": 12.0}, "pages": {"p50": 1.0}}}
    other = {**measured, "system": "transformers"}
    found = [(row["stage"], row["predicted_ms"], row["measured_ms"]) for row in beside([measured, other], predicted)]
    assert found == [("vision", 9.0, 10.0), ("decoder", 10.0, 12.0)]


def test_an_aim_says_what_was_predicted_for_it() -> None:
    aim = aims([], "cuda", "bf16")[1]
    assert aim_line(aim, 2.125).split()[-5:] == ["2.0", "2.12", "-", "not", "measured"]
    assert aim_line(aim, None).split()[-5:] == ["2.0", "-", "-", "not", "measured"]


def test_every_time_in_the_table_is_called_predicted(counts: list[dict[str, Any]]) -> None:
    heading = table(counts).splitlines()[0].split("|")
    assert [cell for cell in heading if "ms" in cell.split()]
    assert all(cell.startswith(" predicted: ") for cell in heading if "ms" in cell.split())


def test_the_page_shows_the_committed_counts() -> None:
    rows = read_counts()
    assert rows
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text, rows) == text


def test_counts_stand_beside_the_same_work_only() -> None:
    """Every size of the model counts, and so do the page and the precision."""
    rows = read_counts()
    own = {name: rows[0][name] for name in ("page", "precision", "model")}
    found = fitting(rows, own)
    assert found == [row for row in rows if row["precision"] == "bf16"] != []
    assert fitting(rows, {**own, "page": [1024, 768]}) == []
    assert fitting(rows, {**own, "precision": "fp16"}) == []
    for part, name in (("decoder", "layers"), ("decoder", "intermediate_size"), ("vision", "depth")):
        sizes = {**own["model"][part], name: own["model"][part][name] + 1}
        assert fitting(rows, {**own, "model": {**own["model"], part: sizes}}) == []
