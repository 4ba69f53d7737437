"""Writes the tables of a run into a Markdown document, between the markers of what the rows measure.

    python -m bench.quality.report DOCUMENT.md ROWS.jsonl

The markers have the name of the rows' file, without its ending and without the ``_cpu`` of a committed one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    parser.add_argument("rows", type=Path, help="of python -m bench.quality or bench.quality.ceilings")
    options = parser.parse_args(arguments)
    text = options.document.read_text(encoding="utf-8")
    name = options.rows.stem.removesuffix("_cpu")
    text = with_tables(text, read(options.rows), name, options.document.name)
    options.document.write_text(text, encoding="utf-8")


def read(file: Path) -> list[Row]:
    """Reads the rows of a results file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def with_tables(text: str, rows: Sequence[Row], name: str, document: str = "the document") -> str:
    """Returns the text of a document with its tables between the markers ``name`` written again.

    Raises:
        SystemExit: it lacks the markers.
    """
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise SystemExit(f"{document} must hold these two lines once, in this order:\n{begin}{end}")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + "\n" + tables(rows) + "\n\n" + end + after


def markers(name: str) -> tuple[str, str]:
    """Returns the lines before and after the tables of the rows called ``name``."""
    return f"<!-- {name}: written by bench/quality/report.py -->\n", f"<!-- /{name} -->\n"


def tables(rows: Sequence[Row]) -> str:
    """Returns all tables, with the setting of the run; differences by document and kind where all rows have them."""
    paired = all("differences" in row for row in rows if row["system"] != "chance")
    parts = [summary(rows), measured(rows)]
    for column, shown in (("document", "document"), ("kind", "kind of query")):
        parts.append(f"**Recall@1 by {shown}.**\n\n{by(rows, column, lambda row: share(row, 'recall@1'))}")
        if paired:
            compared = [row for row in rows if row.get("differences")]
            parts.append(f"**Recall@1 less BM25's by {shown}.**\n\n{by(compared, column, to_bm25)}")
    return "\n\n".join(parts)


def summary(rows: Sequence[Row]) -> str:
    """Returns the table of every system over all queries; how long it reads a page, where that was measured."""
    timed = any("page_ms" in row for row in rows)
    lines = [
        "| system | recall@1 | 95 % interval | recall@3 | recall@5 | MRR | recall@1 less BM25's |"
        + timed * " ms a page |",
        "|---|---|---|---|---|---|---|" + timed * "---|",
    ]
    for row in rows:
        if (row["document"], row["kind"]) == ("all", "all"):
            cells = [share(row, "recall@1"), interval(row.get("recall@1_interval"))]
            cells += [share(row, name) for name in ("recall@3", "recall@5", "mrr")]
            cells += [to_bm25(row), *([f"{row['page_ms']:.0f}" if "page_ms" in row else ""] * timed)]
            lines.append(f"| {' | '.join([label(row, rows), *cells])} |")
    return "\n".join(lines)


def by(rows: Sequence[Row], column: str, cell: Callable[[Row], str]) -> str:
    """Returns a table with a row for each system and a column for each document or kind."""
    other = "kind" if column == "document" else "document"
    held = [row for row in rows if row[other] == "all" and row[column] != "all"]
    heads = {row[column]: row["n"] for row in held}
    lines = [
        f"| system | {' | '.join(f'{head} ({count})' for head, count in heads.items())} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for system in dict.fromkeys(label(row, rows) for row in held):
        cells = {row[column]: cell(row) for row in held if label(row, rows) == system}
        lines.append(f"| {' | '.join([system, *(cells[head] for head in heads)])} |")
    return "\n".join(lines)


def measured(rows: Sequence[Row]) -> str:
    """Says what was measured, with which versions, and how intervals are computed."""
    whole = [row for row in rows if (row["document"], row["kind"]) == ("all", "all")]
    documents = len({row["document"] for row in rows} - {"all"})
    row = whole[0]
    return (
        f"{row['n']} queries over {documents} documents, each with 20 pages of its document.\n"
        f"ziprerank {row['ziprerank']}, ONNX Runtime {row['onnxruntime']}, on {row['cores']} cores of an "
        f"{row['processor']}, commit {row['commit']}.\n"
        "Intervals are Wilson's for recall, and by a paired bootstrap over each document's queries for differences."
    )


def label(row: Row, rows: Sequence[Row]) -> str:
    """Names a system; a bundle's name has its settings, and its id if ``rows`` has another bundle of the same name."""
    if row["bundle"] is None:
        return str(row["system"])
    same = {other["bundle_id"] for other in rows if other["bundle"] == row["bundle"]}
    name = row["bundle"] if len(same) == 1 else f"{row['bundle']} {row['bundle_id']}"
    blank = ", blank dropped" if row.get("blank") == "drop" else ""  # older rows have no "blank": all tokens were kept
    fused = " + BM25" if str(row["system"]).endswith(" + BM25") else ""
    return f"{name}, {row['longest_side']} px{blank}, keep {row['keep_ratio']:g}, window {row['window']}{fused}"


def share(row: Row, name: str) -> str:
    """Returns a metric with three digits."""
    return f"{row[name]:.3f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Returns an interval in words, empty for None."""
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def to_bm25(row: Row) -> str:
    """Returns the difference to BM25 with its interval, empty for chance and for BM25 itself."""
    for entry in row.get("differences", []):
        if entry["to"]["system"].startswith("bm25"):
            return f"{entry['recall@1']:+.3f} ({entry['interval'][0]:+.3f} to {entry['interval'][1]:+.3f})"
    return ""


if __name__ == "__main__":
    main()
