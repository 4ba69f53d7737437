"""What each stage of the small model's training is worth: the recipe of train/configs/tiny.yaml without one of them.

    python -m bench.ablation OUT.jsonl --work FOLDER --real STORE --synthetic STORE

Stage 0 is the tower of ``--reader`` (by default the one in the repository), which has read; without it the same tower
with its blocks drawn at random. The decoder is constructed on either, then stage 2 is run as the recipe has it, or left
out. The paper's stage 1, which the recipe does without, is put before it. Without pruning in the loop a step costs so
much more that this is shown on fewer, smaller steps, with and without.

Every variant ranks the same examples of documents that no ranking stage sees: queries drawn from their text, in its own
words and not in the recipe's synonyms, 8 to 20 pages each, at keep ratio 0.25. A row holds recall@1, the soft ranking
loss, the same with the logits divided by the temperature that is best for the variant (what is learnt beyond the scale
of the probabilities), and Kendall's tau between the logits and BM25's order, each with the mean difference to the whole
recipe and its 95 % interval by a paired bootstrap over the examples, and how long the ranking stages took. Runs are
kept in FOLDER: the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from ziprerank.comparison import machine
from ziprerank.evaluation.measures import wilson
from ziprerank.export.agreement import kendall_tau
from ziprerank.train.checkpoint import put_together
from ziprerank.train.model.losses import order_target, soft_ranking
from ziprerank.train.run.recipe import read_recipe, run_recipe
from ziprerank.train.run.typed_yaml import read_yaml
from ziprerank.train.stages.matching import MatchingStage, MatchingTask

TINY = Path(__file__).parents[1] / "train" / "configs" / "tiny.yaml"
SEED, DRAWS, KEEP_RATIO = 29, 10_000, 0.25
SHORT: dict[str, Any] = {"candidates": [4, 8], "optimisation": {"steps": 30, "accumulate": 4, "warmup": 10}}
LISTWISE: dict[str, Any] = {
    "loss": "listwise",
    "held_out": 0.0,
    "optimisation": {"steps": 40, "accumulate": 4, "warmup": 10},
}
"""Settings of stage 1 on synthetic pages that differ from stage 2."""
SYNTHETIC_PAGES = 240
METRICS = ("recall@1", "soft_ranking_loss", "calibrated_loss", "kendall_tau")
TEMPERATURES = np.append(np.geomspace(0.1, 10, 100), 1.0)

Recipe = dict[str, Any]
Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train.

    Attributes:
        name: in the table.
        reads: whether the tower went through stage 0.
        ranking: settings of the stages after ``construct``.
    """

    name: str
    reads: bool
    ranking: tuple[Recipe, ...]


def variants(pages: Recipe, listwise: Recipe) -> list[Variant]:
    """Returns the variants, the whole recipe first; ``pages`` is its stage 2, ``listwise`` a stage 1 it leaves out."""
    short = merged(pages, SHORT)
    return [
        Variant("the recipe, stages 0 and 2", True, (pages,)),
        Variant("without stage 2, the decoder as it is constructed", True, ()),
        Variant("with stage 1, listwise pretraining", True, (listwise, pages)),
        Variant("stage 2 of 30 small steps", True, (short,)),
        Variant(
            "stage 2 of 30 small steps, without pruning in the loop", True, (merged(short, {"keep_ratio": [1.0]}),)
        ),
        Variant("without stage 0, reading", False, (pages,)),
    ]


def merged(base: Recipe, changes: Recipe) -> Recipe:
    """Returns ``base`` with ``changes``, merging nested mappings."""
    both = base | changes
    for key, value in changes.items():
        if isinstance(value, dict):
            both[key] = merged(base[key], value)
    return both


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    reader = options.reader or committed_reader(options.work / "reader")
    construct, pages, listwise = tiny_stages(options)
    found: dict[str, Values] = {}
    rows: list[dict[str, Any]] = []
    for variant in variants(pages, listwise):
        print(variant.name, flush=True)
        tower = reader if variant.reads else unread(reader, options.work / "unread")
        checkpoint, seconds = trained(variant, construct, tower, options.work)
        found[variant.name], temperature = judged(
            checkpoint, pages | {"features": str(features(options.work, variant, options.real))}, options.examples
        )
        rows.append(
            {
                "what": "ablation",
                "variant": variant.name,
                "stages": [stage.get("loss", "soft_ranking") for stage in variant.ranking],
                "seconds": None if seconds is None else round(seconds),
                "threads": torch.get_num_threads(),
                "pages": pages["most_pages"],
                "synthetic_pages": listwise["most_pages"],
                "temperature": round(temperature, 3),
                "keep_ratio": KEEP_RATIO,
                **summed_up(found[variant.name], next(iter(found.values()))),
                **machine.describe(),
            }
        )
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(table(rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and page features")
    parser.add_argument("--real", type=Path, required=True, help="page store of real documents")
    parser.add_argument("--synthetic", type=Path, required=True, help="page store of made ones")
    parser.add_argument("--reader", type=Path, help="a checkpoint whose tower reads; default: that in the repository")
    parser.add_argument(
        "--most-pages",
        type=int,
        nargs=2,
        metavar=("REAL", "SYNTHETIC"),
        help=f"that are encoded; default: the recipe's and {SYNTHETIC_PAGES}",
    )
    parser.add_argument("--held-out", type=float, help="share of the real documents; default: the recipe's")
    parser.add_argument("--examples", type=int, default=200, help="that every variant ranks; default 200")
    parser.add_argument("--recipe", type=Path, default=TINY, help="default: train/configs/tiny.yaml")
    return parser.parse_args(arguments)


def tiny_stages(options: argparse.Namespace) -> list[Recipe]:
    """Returns the recipe's construct and stage 2 on the given stores, and a stage 1."""
    construct, pages = read_yaml(options.recipe)["stages"][-2:]
    pages["most_pages"], synthetic_pages = options.most_pages or (pages["most_pages"], SYNTHETIC_PAGES)
    if options.held_out is not None:
        pages["held_out"] = options.held_out
    pages["store"] = str(options.real)
    for name in ("synonyms", "reworded"):
        pages.pop(name, None)
    listwise = merged(pages, LISTWISE) | {"store": str(options.synthetic), "most_pages": synthetic_pages}
    listwise["optimisation"].pop("evaluate_every", None)  # nothing is held out
    return [construct | {"store": str(options.real)}, pages, listwise]


def committed_reader(folder: Path) -> Path:
    """The reader in the repository as a checkpoint directory, ``folder``."""
    return folder if (folder / "tokenizer.json").is_file() else put_together("reader", folder)


def unread(reader: Path, folder: Path) -> Path:
    """The reader as if it had never read: the weights of its tower's blocks and merger drawn at random."""
    if (folder / "model.safetensors").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in reader.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    generator = torch.Generator().manual_seed(SEED)
    state = load_file(reader / "model.safetensors")
    for name, tensor in state.items():
        if ("visual.blocks" in name or "visual.merger" in name) and tensor.dim() == 2:
            drawn = torch.randn(tensor.shape, generator=generator) / tensor.shape[1] ** 0.5
            state[name] = drawn.to(tensor.dtype)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def trained(variant: Variant, construct: Recipe, tower: Path, work: Path) -> tuple[Path, float | None]:
    """Returns the variant's checkpoint and the seconds of its ranking stages, None if they had been run before."""
    folder = work / variant.name.replace(", ", "-").replace(" ", "-")
    base = run_stages([construct], tower, work / f"constructed-{kind(variant)}")
    stages = []
    for stage in variant.ranking:
        stages.append(stage | {"features": str(features(work, variant, Path(stage["store"])))})
        MatchingStage(**stage_fields(stages[-1])).task(str(base), seed=SEED, weights="fp32")  # encodes pages, once
    if not stages:
        return base, 0.0
    known = (folder / "recipe.yaml").is_file()
    started = time.monotonic()
    result = run_stages(stages, base, folder)
    return result, None if known else time.monotonic() - started


def kind(variant: Variant) -> str:
    """Names the variant's tower."""
    return "read" if variant.reads else "unread"


def features(work: Path, variant: Variant, store: Path) -> Path:
    """Returns the folder of a store's visual tokens by the variant's tower."""
    return work / f"features-{kind(variant)}-{store.name}"


def run_stages(stages: Sequence[Recipe], checkpoint: Path, folder: Path) -> Path:
    """Runs a recipe of these stages, or resumes it; returns its checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.yaml"
    recipe = {
        "checkpoint": str(checkpoint),
        "output": str(folder),
        "seed": SEED,
        "weights": "fp32",
        "stages": list(stages),
    }
    file.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return run_recipe(read_recipe(file))


def stage_fields(stage: Recipe) -> dict[str, Any]:
    """Returns a stage's settings as `MatchingStage` takes them."""
    fields = {key: value for key, value in stage.items() if key not in ("stage", "optimisation")}
    paths = {key: Path(fields[key]) for key in ("store", "features")}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()} | paths


@torch.inference_mode()
def judged(checkpoint: Path, pages: Recipe, examples: int) -> tuple[Values, float]:
    """Returns a checkpoint's metrics on each held-out example, arrays ``[n]``, and its best temperature."""
    task = MatchingStage(**stage_fields(pages | {"keep_ratio": [KEEP_RATIO]})).task(
        str(checkpoint), seed=SEED, weights="fp32"
    )
    assert isinstance(task, MatchingTask)
    firsts, taus, ranking_losses = [], [], []
    for number in range(examples):
        example = task.held_out(number)
        logits = task.score(example).logits
        firsts.append(float(int(logits.argmax()) == example.truth))
        taus.append(kendall_tau(logits.numpy(), -np.argsort(example.order).astype(np.float32)))
        ranking_losses.append(tempered_losses(logits, order_target(example.order, [example.truth], len(logits))))
    by_temperature = np.array(ranking_losses)  # [n, temperatures], the last of them 1
    best = int(by_temperature.mean(axis=0).argmin())
    return {
        "recall@1": np.array(firsts),
        "soft_ranking_loss": by_temperature[:, -1],
        "calibrated_loss": by_temperature[:, best],
        "kendall_tau": np.array(taus),
    }, float(TEMPERATURES[best])


def tempered_losses(logits: Tensor, target: Tensor) -> NDArray[np.float64]:
    """Returns the soft ranking loss of ``logits`` ``[K]`` divided by each of `TEMPERATURES`."""
    tempered = logits.double()[None] / torch.from_numpy(TEMPERATURES)[:, None]
    mask = torch.ones(1, len(logits), dtype=torch.bool)
    return np.array([float(soft_ranking(row[None], target[None], mask)) for row in tempered])


def summed_up(values: Values, whole: Values) -> dict[str, Any]:
    """Returns means, Wilson's interval of recall@1, and differences to the ``whole`` recipe with their intervals."""
    count = len(values["recall@1"])
    row: dict[str, Any] = {"n": count, **{name: round(float(values[name].mean()), 4) for name in METRICS}}
    row["recall@1_interval"] = [round(bound, 4) for bound in wilson(int(values["recall@1"].sum()), count)]
    draws = np.random.default_rng(SEED).integers(count, size=(DRAWS, count))
    for name in METRICS:
        gains = values[name] - whole[name]
        low, high = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
        row[f"{name}_difference"] = [round(float(number), 4) for number in (gains.mean(), low, high)]
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes the rows as a Markdown table."""
    lines = [
        "| | recall@1 | soft ranking loss | difference to the recipe | at its best temperature | difference to the "
        "recipe | Kendall's tau with BM25 | ranking stages, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,}"
        lines.append(
            f"| {row['variant']} | {row['recall@1']:.3f} | {row['soft_ranking_loss']:.3f} | "
            f"{_interval(row['soft_ranking_loss_difference'])} | {row['calibrated_loss']:.3f} | "
            f"{_interval(row['calibrated_loss_difference'])} | {row['kendall_tau']:.3f} | {seconds} |"
        )
    return "\n".join(lines)


def _interval(difference: Sequence[float]) -> str:
    mean, low, high = difference
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
