"""The tables of ``python -m bench.quality.whole`` and ``python -m bench.quality.long``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .quality.documents import DOCUMENTS

Row = dict[str, Any]

SYSTEMS = {
    "bm25": "BM25 alone",
    "late": "relevance alone",
    "text": "text, then one pass",
    "relevance": "relevance, then one pass",
    "partition": "partition of all pages",
    "windows": "windows over all pages",
    "twenty": "20 given pages, one pass",
}
CASES = {"text": "born-digital pages, text read before", "scans": "scanned pages"}
UNMEASURED = "not measured"


def strategies(rows: Sequence[Row]) -> str:
    """Returns recall at 1 and 5 by system and manual, passes, and times as ratios.

    Args:
        rows: a row for each system and manual.

    Raises:
        ValueError: the rows are of more than one bundle.
    """
    check_one_bundle(row for row in rows if row["system"] != "bm25")  # which depends on no model
    found = {(row["system"], row["document"]): row for row in rows}
    names = [one.name for one in DOCUMENTS if ("bm25", one.name) in found]
    manuals = [f"{name.split('.')[0]} ({found['bm25', name]['pages']:,})" for name in names]
    lines = [
        "The right page among the first 1 / 5, in percent, by manual (pages):",
        "",
        f"| pages by | {' | '.join(manuals)} | all | passes | first query | next query |",
        "|---" * (len(names) + 5) + "|",
    ]
    for system, shown in SYSTEMS.items():
        ours = [found.get((system, name)) for name in names]
        have = [row for row in ours if row is not None]
        whole = len(have) == len(names) and not any(row["sample"] for row in have)
        everything = _recalls(have) if whole else UNMEASURED
        cells = [_recalls([row]) + _of(row) if row else UNMEASURED for row in ours]
        ranges = [_range([row["passes"] for row in have], "{:.3g}")]
        ranges += [_range([row[which] for row in have if which in row], "{:.2g}") for which in ("first", "next")]
        lines.append(f"| {shown} | {' | '.join([*cells, everything, *ranges])} |")
    lines += [
        "",
        f"Each manual has {found['bm25', names[0]]['n']} queries.",
        *(["Where a cell says of how many, these were drawn with a fixed seed."] if any(map(_of, rows)) else []),
        *_among_twenty(rows, names),
        "Passes and times are ranges over the manuals, times over those that were timed; they are ratios to a pass "
        "over 20 pages of the manual, in the same run: the first query's to a pass that encodes its pages too, and "
        "that of the others (the median) to one that finds them in memory.",
        *_agreement([row for row in rows if row["system"] == "agreement"]),
        f"Measured on {rows[0]['cores']} cores of an {rows[0]['processor']}, ONNX Runtime {rows[0]['onnxruntime']}, "
        f"commits {', '.join(sorted({row['commit'] for row in rows}))}.",
    ]
    return "\n".join(lines)


def long_documents(rows: Sequence[Row]) -> str:
    """Returns what a long document takes, against 20 of its pages.

    Args:
        rows: a row for each case and number of pages.

    Raises:
        ValueError: the rows are of more than one bundle.
    """
    check_one_bundle(rows)
    lines = [
        "| document | first stage | first query | next query | peak memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        # by text each query reads other pages; by relevance all pages are in memory
        kind = "fresh" if row["stage"] == "text" else "same"
        peaks = row["peak_mib"]
        lines.append(
            f"| {row['pages']:,} {CASES[row['case']]} | {row['stage']} | {row['first_to_fresh']:.2f} times | "
            f"{row[f'next_to_{kind}']:.2f} times | {peaks['process']} and {peaks['workers']} |"
        )
    first = rows[0]
    lines += [
        "",
        f"Times are ratios to 20 of the document's pages in the same run, of {first['n']} queries each.",
        "By text each query reads other pages, and so the next query is compared with 20 pages that are new to the "
        "engine; by relevance every page is encoded for the first query and found in memory for the next, so that it "
        "is compared with 20 pages that are in memory too.",
        "Memory is that of the process and that of its page workers.",
        f"Measured on {first['cores']} cores of an {first['processor']}, ONNX Runtime {first['onnxruntime']}, "
        f"commits {', '.join(sorted({row['commit'] for row in rows}))}.",
    ]
    return "\n".join(lines)


def check_one_bundle(rows: Iterable[Row]) -> None:
    """Refuses rows of several bundles, which one table would add up; those that name none are of one without a name.

    Args:
        rows: what was measured with a model, with ``bundle_id``.

    Raises:
        ValueError: the rows are of more than one bundle.
    """
    found = Counter(row.get("bundle_id") for row in rows)
    if len(found) > 1:
        told = ", ".join(f"{count} of {name or 'a bundle without bundle_id'}" for name, count in found.items())
        raise ValueError(
            f"rows of {len(found)} bundles, at most 1 in a table: {told}: measure the others again with one of the "
            "bundles, or take their rows out of the file"
        )


def _among_twenty(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Says how often a first stage has the right page among those that the model then reads."""
    for system, shown in (("bm25", "BM25"), ("late", "relevance")):
        ours = [row for row in rows if row["system"] == system]
        if len(ours) == len(names):
            share = sum(row["recall@20"] * row["n"] for row in ours) / sum(row["n"] for row in ours)
            yield f"Among the first 20, {shown} has the right page for {share:.1%} of the queries."


def _agreement(rows: Sequence[Row]) -> Iterator[str]:
    """Says how often partition has the first page of windows, where that was counted."""
    names = ("same_first_page", "n", "same_first_page_where_consistent", "consistent")
    same, of, steady_same, steady = (sum(row[name] for row in rows) for name in names)
    if rows:
        yield (
            f"Partition has the same first page as windows for {same} of {of} queries, and for {steady_same} of the "
            f"{steady} for which windows from the other end have that page too."
        )


def _recalls(rows: Sequence[Row]) -> str:
    """Returns recall at 1 and 5 over the queries of some rows, in percent."""
    count = sum(row["n"] for row in rows)
    return " / ".join(f"{sum(row[f'recall@{at}'] * row['n'] for row in rows) / count:.0%}"[:-1] for at in (1, 5))


def _of(row: Row) -> str:
    """Returns of how many queries a row is, where it is not of all."""
    return f" of {row['n']}" if row["sample"] else ""


def _range(values: Sequence[float], form: str) -> str:
    """Returns the least and the largest value, or the only one."""
    ends = dict.fromkeys(form.format(value) for value in (min(values), max(values))) if values else {}
    return " to ".join(ends)
