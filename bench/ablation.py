"""What each stage of the small model's training is worth: the recipe of train/configs/tiny.yaml without one of them.

    python -m bench.ablation OUT.jsonl --work FOLDER --real STORE --synthetic STORE

Stage 0 is the tower of ``--reader`` (train/checkpoints/reader), which has read; without it the same tower with its
blocks drawn at random. The decoder is constructed on either, then stages 1 and 2 are run as the recipe has them, or
left out. Without pruning in the loop a step costs so much more that this is shown on fewer, smaller steps, with and
without.

Every variant ranks the same examples of documents that stages 1 and 2 never see: queries drawn from their text, 8 to 20
pages each, at keep ratio 0.25. A row holds recall@1, the soft ranking loss, Kendall's tau between the logits and BM25's
order, each with the mean difference to the whole recipe and its 95 % interval by a paired bootstrap over the examples,
and how long the ranking stages took. Runs are kept in FOLDER: the command goes on where it was stopped.
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
from ziprerank.train.matching import MatchingStage, MatchingTask
from ziprerank.train.recipe import read_recipe, run_recipe
from ziprerank.train.settings import read_yaml

from . import machine
from .quality.metrics import wilson

TINY = Path(__file__).parents[1] / "train" / "configs" / "tiny.yaml"
CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"
SEED, DRAWS, KEEP_RATIO = 29, 10_000, 0.25
SHORT: dict[str, Any] = {"candidates": [4, 8], "optimisation": {"steps": 30, "accumulate": 4, "warmup": 10}}
METRICS = ("recall@1", "soft_ranking_loss", "kendall_tau")

Recipe = dict[str, Any]
Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Variant:
    """``reads``: the tower has been through stage 0. ``ranking``: settings of the stages after ``construct``."""

    name: str
    reads: bool
    ranking: tuple[Recipe, ...]


def variants(listwise: Recipe, pages: Recipe) -> list[Variant]:
    """The whole recipe first; ``listwise`` and ``pages`` are its stages 1 and 2."""
    short = merged(pages, SHORT)
    return [
        Variant("all stages", True, (listwise, pages)),
        Variant("without stage 1, listwise pretraining", True, (pages,)),
        Variant("without stage 2, ranking real pages", True, (listwise,)),
        Variant("stage 0 alone, the decoder as it is constructed", True, ()),
        Variant("stage 2 of 30 small steps", True, (short,)),
        Variant(
            "stage 2 of 30 small steps, without pruning in the loop", True, (merged(short, {"keep_ratio": [1.0]}),)
        ),
        Variant("without stage 0, reading", False, (listwise, pages)),
    ]


def merged(base: Recipe, changes: Recipe) -> Recipe:
    """``base`` with ``changes``, within its mappings too."""
    both = base | changes
    for key, value in changes.items():
        if isinstance(value, dict):
            both[key] = merged(base[key], value)
    return both


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    construct, *ranking = tiny_stages(options)
    found: dict[str, Values] = {}
    rows: list[dict[str, Any]] = []
    for variant in variants(*ranking):
        print(variant.name, flush=True)
        tower = options.reader if variant.reads else unread(options.reader, options.work / "unread")
        checkpoint, seconds = trained(variant, construct, tower, options.work)
        found[variant.name] = judged(
            checkpoint, ranking[1] | {"features": str(features(options.work, variant, options.real))}, options.examples
        )
        rows.append(
            {
                "what": "ablation",
                "variant": variant.name,
                "stages": [stage.get("loss", "soft_ranking") for stage in variant.ranking],
                "seconds": None if seconds is None else round(seconds),
                "threads": torch.get_num_threads(),
                "pages": [stage["most_pages"] for stage in ranking],
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
    parser.add_argument("--reader", type=Path, default=CHECKPOINTS / "reader", help="a checkpoint whose tower reads")
    parser.add_argument(
        "--most-pages", type=int, nargs=2, metavar=("REAL", "SYNTHETIC"), help="that are encoded; default: the recipe's"
    )
    parser.add_argument("--held-out", type=float, help="share of the real documents; default: the recipe's")
    parser.add_argument("--examples", type=int, default=200, help="that every variant ranks; default 200")
    parser.add_argument("--recipe", type=Path, default=TINY, help="default: train/configs/tiny.yaml")
    return parser.parse_args(arguments)


def tiny_stages(options: argparse.Namespace) -> list[Recipe]:
    """The recipe's last three stages, construct and the two of ranking, on the given stores."""
    construct, listwise, pages = read_yaml(options.recipe)["stages"][-3:]
    if options.most_pages is not None:
        pages["most_pages"], listwise["most_pages"] = options.most_pages
    if options.held_out is not None:
        pages["held_out"] = options.held_out
    return [
        construct | {"store": str(options.real)},
        listwise | {"store": str(options.synthetic)},
        pages | {"store": str(options.real)},
    ]


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
    """The variant's checkpoint, and the seconds of its ranking stages; None where they had been run before."""
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
    return "read" if variant.reads else "unread"


def features(work: Path, variant: Variant, store: Path) -> Path:
    """Where the visual tokens of a store's pages are, by the variant's tower."""
    return work / f"features-{kind(variant)}-{store.name}"


def run_stages(stages: Sequence[Recipe], checkpoint: Path, folder: Path) -> Path:
    """Runs a recipe of these stages, or goes on with it."""
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
    """A stage's settings as `MatchingStage` takes them."""
    fields = {key: value for key, value in stage.items() if key not in ("stage", "optimisation")}
    paths = {key: Path(fields[key]) for key in ("store", "features")}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()} | paths


@torch.inference_mode()
def judged(checkpoint: Path, pages: Recipe, examples: int) -> Values:
    """Metrics of a checkpoint on each held-out example of a stage on ``pages``, ``[n]``."""
    settings = pages | {"loss": "soft_ranking", "keep_ratio": [KEEP_RATIO]}
    task = MatchingStage(**stage_fields(settings)).task(str(checkpoint), seed=SEED, weights="fp32")
    assert isinstance(task, MatchingTask)
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for number in range(examples):
        example = task.held_out(number)
        loss, logged = task.loss(example, 0.0)
        values["recall@1"].append(logged["first"])
        values["soft_ranking_loss"].append(float(loss))
        values["kendall_tau"].append(logged["order"])
    return {name: np.array(numbers) for name, numbers in values.items()}


def summed_up(values: Values, whole: Values) -> dict[str, Any]:
    """Means, Wilson's interval of recall@1, and differences to the ``whole`` recipe with their intervals."""
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
    """As Markdown."""
    lines = [
        "| | recall@1 | soft ranking loss | difference to all stages | Kendall's tau with BM25 | ranking stages, s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        mean, low, high = row["soft_ranking_loss_difference"]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,}"
        lines.append(
            f"| {row['variant']} | {row['recall@1']:.3f} | {row['soft_ranking_loss']:.3f} | {mean:+.3f} ({low:+.3f} to "
            f"{high:+.3f}) | {row['kendall_tau']:.3f} | {seconds} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
