"""``ziprerank bench``: ziprerank against what users would run instead, on this machine (extra ``bench``)."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ziprerank.cli.extras import needs_extra
from ziprerank.errors import InvalidInput

CANDIDATES = (1, 2, 5, 10, 20, 50)
QUERY = "how do I upgrade a package"


def bench(
    out: Annotated[Path, typer.Argument(help="The rows to write, one JSON object a line.")],
    *,
    pdf: Annotated[Path | None, typer.Option(help="Pages to rank; without it the sample of a clone.")] = None,
    query: Annotated[str, typer.Option(help="What to look for.")] = QUERY,
    checkpoint: Annotated[
        Path | None, typer.Option(help="For PyTorch: what the bundles are exports of; without it the default's.")
    ] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="Of any precision, may be repeated; without it one is exported from the checkpoint."),
    ] = None,
    candidates: Annotated[
        list[int] | None, typer.Option(help="Pages, may be repeated; without it 1 2 5 10 20 50, as the PDF has them.")
    ] = None,
    longest_side: Annotated[
        list[int] | None, typer.Option(help="Page size in px, may be repeated; without it the bundle's own.")
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda or cuda:N, for all systems.")] = "cpu",
    minutes: Annotated[float, typer.Option(help="For all of it: decides how often each system runs.", min=0.1)] = 25.0,
    report: Annotated[Path | None, typer.Option(help="A directory for pictures and one self-contained page.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="2 candidates, once each: shows that it works, no more.")
    ] = False,
) -> None:
    """Measure ziprerank against transformers, autoregressive listwise reranking and pointwise reranking."""
    with needs_extra("bench"):
        from ziprerank.comparison.page import write_report
        from ziprerank.comparison.run import Options, run
        from ziprerank.comparison.tables import tables
        from ziprerank.train.checkpoint import put_together
    from ziprerank.inputs.pdf import PdfFile

    clone = Path(__file__).resolve().parents[3]
    pdf = pdf or _existing(clone / "python" / "examples" / "sample.pdf", "--pdf: a PDF whose pages are ranked")
    document = PdfFile(pdf, name=pdf.name)
    held = document.pages
    document.close()
    counts = tuple(candidates or ([2] if quick else [count for count in CANDIDATES if count <= held]))
    if not 1 <= min(counts) <= max(counts) <= held:
        raise InvalidInput(f"{pdf} has {held} pages, candidates are {list(counts)}: choose 1..{held}")
    with TemporaryDirectory() as scratch:
        options = Options(
            pdf,
            query,
            checkpoint or put_together("default", Path(scratch) / "default"),
            tuple(bundle or ()),
            counts,
            tuple(longest_side or (None,)),
            provider,
            minutes,
            quick,
        )
        rows = run(options, out)
    if report is not None:
        quality = clone / "bench" / "results" / "quality_cpu.jsonl"
        lines = quality.read_text(encoding="utf-8").splitlines() if quality.is_file() else []
        write_report(rows, report, [json.loads(line) for line in lines])
    typer.echo(tables(rows))


def _existing(path: Path, option: str) -> Path:
    if not path.exists():
        raise InvalidInput(f"this is no clone, so give {option}")
    return path
