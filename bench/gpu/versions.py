"""``python -m bench.gpu.versions 1.27.0 1.31.1``: what versions of onnxruntime-gpu do with our graphs, without a GPU.

Each version is fetched (about 250 MB) and runs on the hollow GPU of the tests; the table goes into docs/gpu.md. Without
arguments it measures the versions that stand there.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ziprerank.bundle import Bundle
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.kernels import compile_kernels

from .document import PAGE, ROOT, with_section

if TYPE_CHECKING:
    from hollow.summary import Summary

BEGIN, END = "<!-- versions -->\n", "<!-- /versions -->\n"
HEAD = (
    "| onnxruntime-gpu | CUDA | operators on the CPU | copies between CPU and GPU, a page and a query | attention "
    "| launches, a page and a query | copies to the GPU, a query | suited |\n|---|---|---|---|---|---|---|---|\n"
)


def main(versions: list[str]) -> None:
    """Measures ``versions`` and writes the table."""
    from hollow import prepare
    from hollow.summary import measure

    text = PAGE.read_text()
    table = text.split(BEGIN)[1].split(END)[0]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        bundle = _bundle(Path(work))
        for version in versions or re.findall(r"^\| (\d[\d.]+) \|", table, re.MULTILINE):
            folder = Path(work) / version
            folder.mkdir()
            gpu = prepare(folder / "stubs", version)
            major = next(gpu.libraries.glob("libcudart.so.*[0-9]")).suffix.removeprefix(".")
            rows.append(row(version, major, measure(gpu, bundle.path, folder, any_version=True), bundle))
            sys.stdout.write(rows[-1])
    PAGE.write_text(with_section(text, BEGIN, END, HEAD + "".join(rows)))


def _bundle(folder: Path) -> Bundle:
    """Random weights in bf16, with heads as wide as the 8B model's."""
    from tiny_checkpoint import save_wide_heads_checkpoint

    checkpoint = save_wide_heads_checkpoint(folder / "checkpoint")
    out = export_checkpoint(str(checkpoint), folder / "bundle", ExportOptions(target="cuda", precision="bf16"))
    bundle = Bundle.load(out)
    compile_kernels(out / "kernels", bundle.model["hidden_size"], "bf16", bundle.model["levels"], [90])
    return bundle


def row(version: str, cuda: str, found: Summary, bundle: Bundle) -> str:
    """One version's row of the table."""
    from hollow.summary import AGAIN

    operators: Counter[str] = sum(found.on_cpu.values(), Counter())
    depth, layers = bundle.model["vision"]["depth"], bundle.model["decoder"]["layers"]
    flash = found.finished and found.flash == (depth, layers - 1)
    suited = flash and not operators and not any(found.copies.values())
    names = ", ".join(f"{count} {name}" for name, count in sorted(operators.items())) or "none"
    if len(operators) > 6:
        names = f"{operators.total()} of {len(operators)} kinds"
    copies, launches = f"{found.copies['vision']} and {found.copies['rerank']}", "not known"
    sent = "not known"
    if found.finished:
        sent = str(sum(copy.direction == "HtoD" for copy in found.step(AGAIN).copies))
        launches = f"{found.launches[0]:g} and {found.launches[1]}"
    else:
        names, copies = f"{names} in the first page", f"{found.copies['vision']} and not known"
    attention = "flash" if flash else "S x S" if found.stores_scores else "not all flash"
    cells = [version, cuda, names, copies, attention, launches, sent, "yes" if suited else "no"]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))  # the hollow GPU, and the checkpoint that it is tested with
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help="Versions of onnxruntime-gpu; none: those in docs/gpu.md.")
    main(parser.parse_args().versions)
