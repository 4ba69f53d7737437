"""The report in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ziprerank.evaluation.measures import MEASURES
from ziprerank.evaluation.published import MMDOCIR, MMDOCIR_SOURCE
from ziprerank.evaluation.report import COMPARED, Report

_LISTED = 20  # reasons shown; report.json has all


def markdown(report: Report) -> str:
    """Returns the whole report."""
    parts = [f"# {report['data']}", _asked(report), _quality(report, "micro")]
    if "macro" in report["systems"][0]:
        parts.append(_quality(report, "macro"))
    if report["format"] == "mmdocir":
        parts.append(_paper(report))
    parts += [_differences(report), _costs(report)]
    if len(report["systems"][0]["groups"]) > 1:
        parts.append(_groups(report))
    parts += [_faults(report), _measured(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _asked(report: Report) -> str:
    queries = report["queries"]
    lines = [
        f"{queries['judged']:,} queries with judged pages, candidates from: {report['first_stage']}.",
        f"{queries['without a relevant candidate']:,} of them have no relevant page among their candidates, "
        f"and {queries['relevant pages that are no candidates']:,} relevant pages are no candidates: "
        "no system can find these.",
    ]
    if queries["not ranked"]:
        lines.append(f"{len(queries['not ranked']):,} queries cannot be ranked; they count as misses (reasons below).")
    for name, faults in queries["not ranked by"].items():
        lines.append(f"{name} could not rank {len(faults):,} queries, which count as its misses (reasons below).")
    for name, pages in queries["skipped pages"].items():
        lines.append(f"{name} skipped {len(pages):,} pages that cannot be shown (reasons below).")
    if queries["not judged"]:
        lines.append(f"{len(queries['not judged']):,} more queries were judged by nobody and count nowhere.")
    return "\n".join(lines)


def _quality(report: Report, average: str) -> str:
    what = "Mean over queries (micro)" if average == "micro" else "Mean over groups of their means (macro)"
    note = ""
    if average == "macro" and (missing := report["domains"]["without a query"]):
        count = len(report["domains"]["all"])
        note = f"\n{len(missing)} of {count} domains have no query here and count 0: {', '.join(missing)}."
    rows = [[system["name"], *(f"{system[average][name]:.4f}" for name in MEASURES)] for system in report["systems"]]
    return f"**{what}.**{note}\n\n{_table(['system', *MEASURES], rows)}"


def _paper(report: Report) -> str:
    """The table in the paper's layout: percent with one decimal, the published rows marked."""
    rows = [
        [f"{one.name} (published)", f"{one.recall_1:.1f}", f"{one.recall_3:.1f}", "", "", "", _seconds(one.seconds)]
        for one in MMDOCIR
    ]
    for system in report["systems"]:
        macro, micro = system["macro"], system["micro"]
        rerank = system.get("ms", {}).get("rerank")
        rows.append(
            [
                system["name"],
                *(f"{round(macro[name] * 100, 1)}" for name in ("recall@1", "recall@3", "recall@5")),
                *(f"{round(micro[name] * 100, 1)}" for name in ("recall@1", "recall@3")),
                _seconds(None if rerank is None else rerank["mean"] / 1e3),
            ]
        )
    heads = ["method", "macro R@1", "macro R@3", "macro R@5", "micro R@1", "micro R@3", "LLM s a query"]
    return (
        f"**MMDocIR, as published and as measured here.**\nPublished rows: {MMDOCIR_SOURCE}.\n"
        "LLM seconds are without the vision tower; those measured here are pruning and decoder on the machine below."
        "\n\n" + _table(heads, rows)
    )


def _differences(report: Report) -> str:
    pairs: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in report["differences"]:
        pairs.setdefault((one["of"], one["less"], one["average"]), {})[one["measure"]] = one
    rows = [
        [of, less, average, *(_difference(found[name]) for name in COMPARED)]
        for (of, less, average), found in pairs.items()
    ]
    if not rows:
        return ""
    heads = ["system", "less", "mean", *COMPARED]
    told = "**Differences, with 95 % intervals by a paired bootstrap over the queries of each group.**"
    return f"{told}\n\n{_table(heads, rows)}"


def _costs(report: Report) -> str:
    systems = [system for system in report["systems"] if "ms" in system]
    if not systems:
        return ""
    stages = list(dict.fromkeys(stage for system in systems for stage in system["ms"]))
    kinds = list(dict.fromkeys(kind for system in systems for kind in system["tokens"]))
    rows = [
        [
            system["name"],
            *(f"{system['ms'][stage]['mean']:,.1f}" if stage in system["ms"] else "" for stage in stages),
            f"{system['ms']['total']['median']:,.1f}",
            *(f"{system[unit]:,.1f}" if unit in system else "" for unit in ("ms a page", "processor ms a page")),
            *(f"{system['tokens'][kind]:,.1f}" if kind in system["tokens"] else "" for kind in kinds),
        ]
        for system in systems
    ]
    texts = ("text, ms a page", "text, processor ms a page")
    heads = ["system", *(f"{stage}, ms" for stage in stages), "total, median", *texts, *kinds]
    return (
        "**What a query takes, on average.**\n"
        "Stages overlap. Keep ratios share a query's page features, and each counts the time that these took.\n"
        f"The process held at most {report['peak_mb']:,.0f} MB.\n\n" + _table(heads, rows)
    )


def _groups(report: Report) -> str:
    groups = list(report["systems"][0]["groups"])
    heads = ["group", "queries", *(system["name"] for system in report["systems"])]
    rows = [
        [
            _cell(group),
            str(report["systems"][0]["groups"][group]["queries"]),
            *(f"{system['groups'][group]['recall@1']:.4f}" for system in report["systems"]),
        ]
        for group in groups
    ]
    return f"**Recall@1 by group.**\n\n{_table(heads, rows)}"


def _faults(report: Report) -> str:
    queries = report["queries"]
    faults = [("all", queries["not ranked"]), *queries["not ranked by"].items(), *queries["skipped pages"].items()]
    found = [(name, what, fault) for name, held in faults for what, fault in held.items()]
    if not found:
        return ""
    rows = [[system, what, _cell(fault)] for system, what, fault in found[:_LISTED]]
    more = f"\n\n{len(found) - _LISTED:,} more are in report.json." if len(found) > _LISTED else ""
    return f"**What could not be ranked.**\n\n{_table(['system', 'query or page', 'reason'], rows)}{more}"


def _measured(report: Report) -> str:
    machine = report["machine"]
    told = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    return (
        f"Measured on: {told}.\n"
        "Measures are trec_eval's, by pytrec_eval; recall is the share of a query's relevant pages among the first k, "
        "and hit whether one of them is."
    )


def _difference(one: dict[str, Any]) -> str:
    return f"{one['difference']:+.4f} ({one['interval'][0]:+.4f} to {one['interval'][1]:+.4f})"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
