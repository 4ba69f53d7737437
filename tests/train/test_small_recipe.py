"""The small recipe in miniature, from documents to a bundle: that every step is made, and made once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import ziprerank.train
from safetensors.torch import load_file
from store_pages import write_documents
from tiny_wordnet import write_wordnet
from tokenizers import Tokenizer
from ziprerank import Pdf, Reranker
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.run.recipe import read_recipe
from ziprerank.train.small_recipe import SmallRecipe, main, places
from ziprerank.train.stages.reading import HEADS

TINY = Path(ziprerank.train.__file__).parent / "configs" / "tiny.yaml"
TABLE = "model.language_model.embed_tokens.weight"


def miniature(folder: Path, *, tower: Path | None = None) -> list[str]:
    """Arguments: PDFs and texts of our own, and each stage a step long."""
    few = []
    for stage in (0, 1, 2):
        few += [f"stages.{stage}.longest_side=[0, 10000]", f"stages.{stage}.compile=false"]
        few += [f"stages.{stage}.optimisation.steps=1", f"stages.{stage}.optimisation.warmup=0"]
        few += [f"stages.{stage}.sizes=[{{count: 2, rows: 2, cols: 3}}]", f"stages.{stage}.held_out=0.0"]
    few += ["stages.3.pages=2", "stages.4.candidates=[2, 3]", "stages.4.held_out=0.0", "stages.4.optimisation.steps=1"]
    few += ["stages.4.optimisation.warmup=0", "stages.4.optimisation.evaluate_every=0"]
    sources = ["--pdfs", str(folder / "pdfs"), "--texts", str(folder / "texts"), "--fonts"]
    sizes = ["--synthetic", "2", "1", "--most-pages", "5", "2", "--least-words", "4", "--entries", "400"]
    words = ["--synonyms", str(folder / "wordnet")]
    begun = [] if tower is None else ["--tower", str(tower)]
    return [str(folder / "out"), *begun, *sources, *words, *sizes, "--set", *few]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with PDFs and texts."""
    write_documents(tmp_path / "pdfs", documents=2, pages=3, words=24)
    write_wordnet(tmp_path / "wordnet")
    (tmp_path / "texts").mkdir()
    paragraph = "every page of this manual explains one part of the program in plain words"
    for number in range(12):  # some of them are held out, by their names
        text = "\n\n".join(f"{paragraph} number {number} {line}" for line in range(30))
        (tmp_path / "texts" / f"text-{number}.txt").write_text(text)
    return tmp_path


def test_from_documents_to_a_bundle(folder: Path) -> None:
    main(miniature(folder))
    out = folder / "out"
    assert len(PageStore(out / "stores" / "real")) == 5
    words = Tokenizer.from_file(str(out / "bundle" / "tokenizer.json"))
    assert words.encode("(manual").tokens == ["(", "manual"]  # a word of the texts, whole wherever it stands
    assert load_file(out / "start" / "model.safetensors")[TABLE].shape == (words.get_vocab_size(), 256)
    assert len(list((out / "documents").glob("*.pdf"))) == 2
    start, end = (load_file(out / place / "model.safetensors") for place in ("start", "run/4-matching/model"))
    read = "model.visual.blocks.4.mlp.linear_fc1.weight"
    assert (start[read] != end[read].float()).any()
    manifest = json.loads((out / "bundle" / "ziprerank.json").read_text(encoding="utf-8"))
    assert (manifest["image"]["longest_side"], manifest["image"]["dpi"]) == (1024, 88)
    ranking = Reranker.from_bundle(out / "bundle").rank("kalomi", Pdf(folder / "pdfs" / "manual-0.pdf"))
    assert sorted(page.index for page in ranking.results) == [0, 1, 2]

    def times() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}

    before = times()
    main(miniature(folder))
    assert times() == before
    shutil.rmtree(out / "bundle")
    left = out / ".bundle.unfinished"  # of a run that was stopped in the middle of the step
    left.mkdir()
    (left / "half.onnx").write_bytes(b"cut off")
    main(miniature(folder))
    assert json.loads((out / "bundle" / "ziprerank.json").read_text(encoding="utf-8"))["files"] == manifest["files"]
    assert not left.exists()
    assert not (out / "bundle" / "half.onnx").exists()


def test_a_tower_that_reads_is_trained_by_the_last_reading_stage(folder: Path, reader_checkpoint: Path) -> None:
    main(miniature(folder, tower=reader_checkpoint))
    out = folder / "out"
    assert sorted(path.name for path in (out / "run").iterdir()) == ["0-reading", "1-construct", "2-matching"]
    start, end = (load_file(out / place / "model.safetensors") for place in ("start", "run/0-reading/model"))
    read, last = "model.visual.blocks.4.mlp.linear_fc1.weight", "model.visual.merger.linear_fc2.weight"
    tower = load_file(reader_checkpoint / "model.safetensors")
    assert torch.equal(start[read], tower[read].float())
    assert not torch.equal(start[last], tower[last].float())  # the words of these documents are another vocabulary
    assert not torch.equal(start[read], end[read].float())
    assert (out / "bundle" / "ziprerank.json").is_file()
    shutil.rmtree(out / "bundle")
    main(miniature(folder))  # that the start reads is seen without the option
    assert (out / "bundle" / "ziprerank.json").is_file()
    (out / "start" / HEADS).unlink()
    with pytest.raises(TrainError, match="start was made without a tower: remove it"):
        main(miniature(folder, tower=reader_checkpoint))


def test_every_path_of_the_recipe_is_in_the_folder(tmp_path: Path) -> None:
    recipe = read_recipe(TINY, places(tmp_path))
    assert recipe.checkpoint == str(tmp_path / "start")
    assert recipe.output == tmp_path / "run"
    for planned in recipe.stages:
        for value in vars(planned.stage).values():
            for path in value if isinstance(value, tuple) else (value,):
                assert not isinstance(path, Path) or path.is_relative_to(tmp_path)


def test_sizes_that_make_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"synthetic is \(0, 20\), most_pages \(5, 5\): each must be at least 1"):
        SmallRecipe(folder=tmp_path, synthetic=(0, 20), most_pages=(5, 5))
