"""Synthetic PDF documents: a corpus's words in many layouts, for training on rendered pages whose text is known.

    python -m ziprerank.train.data.documents OUT --texts FOLDER --fonts FOLDER --count 100 --pages 20 --seed 0

Needs reportlab. The same version of it, the same texts, fonts and seed write the same bytes. The text can be read back
from the PDF with the right characters and in reading order within a column.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]
from ziprerank.train.errors import TrainError

from . import blocks, corpus
from .layout import PAGES, DocumentFullError, Flow, Style, Words, choose_style
from .typefaces import Family, base14, families


def draw_style(rng: Random, fonts: Sequence[Family] = ()) -> Style:
    """Draw a document's look; a quarter of the documents use PDF's base 14 typefaces even if ``fonts`` are given."""
    # never both kinds in a document: the base 14 would limit it to Windows-1252
    pool = base14() if not fonts or rng.random() < 0.25 else fonts
    mono = [family for family in pool if family.mono] or [family for family in base14() if family.mono]
    # a typewriter face for the running text is rare
    faces = [family for family in pool if not family.mono]
    if not faces or rng.random() < 0.05:
        faces = mono
    return choose_style(rng, faces, mono)


def make_document(
    path: Path | str, texts: Sequence[str], seed: int, pages: int, fonts: Sequence[Family] = ()
) -> Counter[str]:
    """Write a PDF of exactly ``pages`` pages.

    Args:
        path: the file.
        texts: where the words come from, in order, starting over if they do not fill the pages. What does not fit on
            the last page is left out, and so are words with characters that the chosen typefaces lack.
        seed: of layout, typefaces and colours.
        pages: at least 1.
        fonts: what ``families`` found; a quarter of all seeds use PDF's base 14 typefaces in any case.

    Returns:
        How many blocks of each kind were drawn (``blocks.BLOCKS``, "title", "chart-bars", ...).

    Raises:
        TrainError: no pages, or no text that can be written.
    """
    if pages < 1:
        raise TrainError(f"a document of {pages} pages: at least 1")
    rng = Random(seed)
    style = draw_style(rng, fonts)
    words = Words(texts, style.characters, rng)
    canvas = Canvas(str(path), pagesize=PAGES[style.page], invariant=1, pageCompression=1)
    flow = Flow(canvas, style, words, rng, pages)
    canvas.setTitle(flow.running)
    names = list(blocks.BLOCKS)
    shares = [share for _, share in blocks.BLOCKS.values()]
    try:
        if rng.random() < 0.8:
            blocks.title(flow)
            flow.drawn["title"] += 1
        previous = ""
        while True:
            name = rng.choices(names, shares)[0]
            if name == previous and name != "paragraph":  # two headings or two tables in a row look wrong
                name = "paragraph"
            blocks.BLOCKS[name][0](flow)
            flow.drawn[name] += 1
            previous = name
    except DocumentFullError:
        pass
    canvas.showPage()
    canvas.save()
    return flow.drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes ``--count`` documents, SEED.pdf, each on a run of paragraphs that begins at a place of its own."""
    parser = argparse.ArgumentParser(prog="python -m ziprerank.train.data.documents", description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="folder of documents that train.data.corpus can read")
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], help="folders of .ttf files")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first document; the others follow")
    chosen = parser.parse_args(arguments)
    texts = list(corpus.paragraphs(chosen.texts, chosen.split))
    if not texts:
        raise TrainError(f"no paragraph of the {chosen.split} split under {chosen.texts}: see train/data/corpus.py")
    fonts = families(chosen.fonts)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        start = Random(f"start {seed}").randrange(len(texts))
        make_document(chosen.out / f"{seed:06d}.pdf", [*texts[start:], *texts[:start]], seed, chosen.pages, fonts)


if __name__ == "__main__":
    main()
