"""The report of an evaluation, as plain values: measures, differences, times and what could not be ranked."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ziprerank.evaluation import measures
from ziprerank.evaluation.job import Row

COMPARED = ("recall@1", "ndcg@10", "mrr@10")

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How queries are averaged.

    Attributes:
        first_stage: Name of the first stage as a system.
        domains: As ``Data.domains``.
        seed: Of the bootstrap.
    """

    first_stage: str
    domains: tuple[str, ...] = ()
    seed: int = 0


def orders(rows: Sequence[Row], first_stage: str) -> dict[str, dict[str, list[str]]]:
    """Returns each system's order of pages by query; the first stage's is that of the candidates.

    A query that a system could not rank has no pages.
    """
    found: dict[str, dict[str, list[str]]] = {first_stage: {}}
    for row in rows:
        pages = row["candidates"]
        found[first_stage][row["id"]] = list(dict.fromkeys(pages))
        for name, ranked in row["systems"].items():
            found.setdefault(name, {})[row["id"]] = [pages[at] for at in ranked["order"]]
    return found


def report_of(rows: Sequence[Row], shape: Shape) -> Report:
    """Computes the report.

    A query that a system could not rank counts as a miss: its measures are 0. A query that nobody judged is left out,
    as trec_eval leaves it out.

    Args:
        rows: Of ``queries.jsonl``.
        shape: How queries are averaged.
    """
    judged = sorted((row for row in rows if row["relevant"] is not None), key=lambda row: row["id"])
    qrels = {row["id"]: row["relevant"] for row in judged}
    groups = [row["group"] for row in judged]
    weights = {"micro": measures.micro(groups)}
    if shape.domains or len(set(groups)) > 1:
        weights["macro"] = measures.macro(groups, shape.domains)
    values: dict[str, np.ndarray[Any, Any]] = {}
    systems = []
    for name, order in orders(rows, shape.first_stage).items():
        run = {query: {page: len(pages) - at for at, page in enumerate(pages)} for query, pages in order.items()}
        found = measures.measured(qrels, run)
        table = [[found[query][one] for one in measures.MEASURES] for query in qrels]
        values[name] = np.array(table, dtype=np.float64).reshape(len(qrels), len(measures.MEASURES))
        means = {
            average: dict(zip(measures.MEASURES, (weight @ values[name]).tolist(), strict=True))
            for average, weight in weights.items()
        }
        systems.append({"name": name, **means, "groups": _by_group(values[name], groups), **_costs(rows, name)})
    return {
        "queries": _counts(rows, judged),
        "domains": {"all": list(shape.domains), "without a query": sorted(set(shape.domains) - set(groups))},
        "systems": systems,
        "differences": _differences(values, weights, groups, shape.seed),
        "peak_mb": max((row["peak_mb"] for row in rows), default=0.0),
    }


def _counts(rows: Sequence[Row], judged: Sequence[Row]) -> dict[str, Any]:
    faults = {row["id"]: row["fault"] for row in rows if row["fault"] is not None}
    by_system: dict[str, dict[str, str]] = {}
    skipped: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, ranked in row["systems"].items():
            if ranked["skipped"]:
                skipped.setdefault(name, {}).update(ranked["skipped"])
            if ranked["fault"] is not None and row["fault"] is None:
                by_system.setdefault(name, {})[row["id"]] = ranked["fault"]
    relevant = [{page for page, grade in row["relevant"].items() if grade > 0} for row in judged]
    found = [pages & set(row["candidates"]) for pages, row in zip(relevant, judged, strict=True)]
    return {
        "all": len(rows),
        "judged": len(judged),
        "not judged": [row["id"] for row in rows if row["relevant"] is None],
        "without a relevant candidate": sum(not pages for pages in found),
        "relevant pages that are no candidates": sum(map(len, relevant)) - sum(map(len, found)),
        "candidates": dict(sorted(Counter(len(row["candidates"]) for row in rows).items())),
        "not ranked": dict(sorted(faults.items())),
        "not ranked by": {name: dict(sorted(found.items())) for name, found in by_system.items()},
        "skipped pages": {name: dict(sorted(found.items())) for name, found in skipped.items()},
    }


def _by_group(values: np.ndarray[Any, Any], groups: Sequence[str]) -> dict[str, dict[str, float]]:
    names = np.array(groups)
    return {
        group: {
            "queries": int((names == group).sum()),
            **dict(zip(measures.MEASURES, values[names == group].mean(axis=0).tolist(), strict=True)),
        }
        for group in sorted(set(groups))
    }


def _costs(rows: Sequence[Row], name: str) -> dict[str, Any]:
    """Returns mean and median milliseconds of each stage, and mean tokens, over the queries that were ranked."""
    ranked = [row["systems"][name] for row in rows if name in row["systems"] and row["systems"][name]["fault"] is None]
    if not ranked:
        return {}
    stages = {stage: [one["ms"][stage] for one in ranked if stage in one["ms"]] for stage in ranked[0]["ms"]}
    kinds = {kind: [one["tokens"][kind] for one in ranked if kind in one["tokens"]] for kind in ranked[0]["tokens"]}
    costs: dict[str, Any] = {
        "ranked": len(ranked),
        "ms": {stage: {"mean": statistics.fmean(ms), "median": statistics.median(ms)} for stage, ms in stages.items()},
        "tokens": {kind: statistics.fmean(count) for kind, count in kinds.items()},
    }
    if read := sum(one["read"] for one in ranked):
        costs["ms a page"] = sum(stages["text"]) / read
        if worked := sum(one["read_cpu_ms"] for one in ranked):
            costs["processor ms a page"] = worked / read
    return costs


def _differences(
    values: Mapping[str, np.ndarray[Any, Any]],
    weights: Mapping[str, np.ndarray[Any, Any]],
    groups: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """Returns the difference of each later system to each earlier one, with its 95 % interval."""
    if not groups or len(values) < 2:
        return []
    columns = [measures.MEASURES.index(name) for name in COMPARED]
    pairs = [(later, earlier) for earlier, later in combinations(values, 2)]
    gains = np.concatenate([values[a][:, columns] - values[b][:, columns] for a, b in pairs], axis=1)
    found: list[dict[str, Any]] = []
    for average, weight in weights.items():
        low, high = measures.interval(gains, weight, groups, seed)
        means = weight @ gains
        for at, (pair, name) in enumerate((pair, name) for pair in pairs for name in COMPARED):
            found.append(
                {
                    "of": pair[0],
                    "less": pair[1],
                    "average": average,
                    "measure": name,
                    "difference": float(means[at]),
                    "interval": [float(low[at]), float(high[at])],
                }
            )
    return found
