"""The files of a finished evaluation: run files, and the report as JSON, Markdown, picture and page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ziprerank.evaluation.job import read_rows
from ziprerank.evaluation.page import document, figure, rendered
from ziprerank.evaluation.plot import CAPTION, draw
from ziprerank.evaluation.report import Report, Shape, orders, report_of
from ziprerank.evaluation.runs import write_run
from ziprerank.evaluation.tables import markdown
from ziprerank.job_folder import write_whole, writing


def write_outputs(out: Path, about: dict[str, Any], shape: Shape) -> Report:
    """Writes ``run.SYSTEM.trec`` for each system, ``report.json``, ``report.md``, ``report.png`` and ``report.html``.

    Args:
        out: Folder with the rows.
        about: ``data``, ``format``, ``first_stage``, ``machine`` and ``settings`` of the report.
        shape: How queries are averaged.

    Returns:
        The report.

    Raises:
        InvalidInput: They cannot be written.
    """
    rows = sorted(read_rows(out), key=lambda row: str(row["id"]))
    report = {**about, **report_of(rows, shape)}
    text = markdown(report)
    for name, order in orders(rows, shape.first_stage).items():
        tag = re.sub(r"[^\w.+-]", "-", name)
        write_run(out / f"run.{tag}.trec", order, tag)
    write_whole(out / "report.json", (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(out / "report.md", text.encode())
    picture = out / "report.png"
    with writing(picture):
        draw(report, picture)
    parts = [rendered(text), figure(picture, CAPTION)]
    write_whole(out / "report.html", document(f"ziprerank eval: {about['data']}", parts).encode())
    return report
