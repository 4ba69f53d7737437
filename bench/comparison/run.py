"""Runs the whole comparison in one process, on the same weights, pages and machine.

For each page size and number of candidates, `agreement` first checks that all systems compute the same logits.
Then everything runs once to warm up, and after that in rounds, one system after another: A B C A B C.
Rows hold p20, p50 and p80 over the rounds; `schedule` decides how many rounds there are.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging
from ziprerank.bundle import Blank
from ziprerank.export.manifest import read_manifest
from ziprerank.prompt import PromptBuilder
from ziprerank.windows import MAX_WINDOW

from . import limits, machine, memory
from .agreement import Agreement
from .baselines import Baselines, Pages
from .bundles import Bundles, blanks, load_bundles, with_pages_of
from .cases import KEEP_RATIOS, OURS, STRIDE, Case, Sample, at_size, distinct_pages
from .nvml import energy_counter
from .ours import Ours
from .pruning import Share, shares
from .schedule import Budget, repeats, rounds
from .torch_model import TorchModel

SETTLE_S = 0.02  # between systems: idle threads that still spin release the cores
ENDLESS_S = 1e9
FIXED, MEMORY = 4.0, 1.5  # cost of any case, and per page of measuring memory, in one-page passes

Row = dict[str, Any]
Unit = Callable[[], list[Sample]]


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured.

    Attributes:
        pdf: pages to rank.
        query: what is looked for.
        checkpoint: Hugging Face directory, for the systems on PyTorch.
        bundles: exports of ``checkpoint``; if empty, one that ranks a window and one that scores page by page are
            exported for ``provider``.
        candidates: numbers of pages.
        longest_sides: page sizes in px; None is the bundle's own.
        provider: "cpu", "cuda" or "cuda:N", for all systems.
        minutes: time limit for everything.
        quick: one round of everything, however long it takes.
    """

    pdf: Path
    query: str
    checkpoint: Path
    bundles: tuple[Path, ...]
    candidates: tuple[int, ...]
    longest_sides: tuple[int | None, ...]
    provider: str
    minutes: float
    quick: bool


def run(options: Options, out: Path) -> list[Row]:
    """Measures everything and writes each row to ``out`` as soon as it is known.

    Returns:
        All rows.

    Raises:
        InvalidInput: as `load_bundles`.
        SystemExit: the systems' logits differ, or the PDF has too few distinct pages.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    common = {
        "document": options.pdf.name,
        "checkpoint": options.checkpoint.resolve().name,
        "provider": options.provider,
        "device": torch.cuda.get_device_name(options.provider) if options.provider.startswith("cuda") else None,
        **machine.describe(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),  # should be near 0: other processes share the cores
    }
    rows = []
    with out.open("w", encoding="utf-8") as file:
        for row in measure(options):
            rows.append({**row, **common})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    return rows


def measure(options: Options) -> Iterator[Row]:
    """Yields rows of the machine, then of each case.

    Peak memory is measured in one case: the first page size with the most candidates of one pass.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        given = options.bundles, options.checkpoint, options.provider
        bundles, pointwise = load_bundles(*given, Path(scratch))
        first = next(iter(bundles.values()))
        rates = limits.Rates.measure(options.provider, first.precision, quick=options.quick)
        yield {"what": "machine rates", **rates.row()}
        image = read_manifest(first.path)["image"]
        cases = [(side, pages) for side in options.longest_sides for pages in sorted(options.candidates)]
        seconds = ENDLESS_S if options.quick else options.minutes * 60 - (time.perf_counter() - started)
        one_pass = [pages for pages in options.candidates if pages <= MAX_WINDOW]
        with_memory = (options.longest_sides[0], max(one_pass, default=0))
        weights = {case: _weight(*case, options.longest_sides, with_memory=case == with_memory) for case in cases}
        budget = Budget(seconds, weights)
        for side in options.longest_sides:
            sized = {precision: at_size(bundle, side) for precision, bundle in bundles.items()}
            rules = next(iter(sized.values()))
            page_by_page = {precision: with_pages_of(rules, bundle) for precision, bundle in pointwise.items()}
            model = TorchModel(options.checkpoint, rules, image["mean"], image["std"], options.provider)
            agreement = Agreement()
            numbers = distinct_pages(options.pdf, rules, max(options.candidates))
            for pages in sorted(options.candidates):
                place = {"candidates": pages, "longest_side": rules.image.longest_side}
                if not budget.fits((side, pages)):
                    print(f"left out: {pages} pages of {rules.image.longest_side} px, {budget.left:.0f} s are left")
                    yield {"what": "left out", **place, "seconds_left": round(budget.left)}
                    budget.skip((side, pages))
                    continue
                case = _Case(options, sized, page_by_page, model, numbers[:pages], budget.seconds((side, pages)), rates)
                for row in case.rows(agreement, with_memory=(side, pages) == with_memory):
                    yield {**place, **row}
                budget.done((side, pages), case.least_s)


class _Case:
    """All systems on one number of pages of one size."""

    def __init__(
        self,
        options: Options,
        bundles: Bundles,
        pointwise: Bundles,
        model: TorchModel,
        numbers: tuple[int, ...],
        seconds: float,
        rates: limits.Rates,
    ) -> None:
        self._started = time.perf_counter()
        self._options, self._rates, self._seconds = options, rates, seconds
        energy = energy_counter(options.provider)
        first = next(iter(bundles.values()))

        def ours(kind: Bundles) -> list[Ours]:
            return [
                Ours(Case(options.pdf, options.query, numbers, bundle), name, blank, options.provider, energy)
                for name, bundle in kind.items()
                for blank in blanks(bundle if kind is bundles else first)  # beside listwise, with the same options
            ]

        self._ours, self._pointwise = ours(bundles), ours(pointwise)
        self._baselines = Baselines(model, self._ours[0].case, energy, next(iter(pointwise.values()), None))
        self.least_s = 0.0

    def rows(self, agreement: Agreement, *, with_memory: bool) -> Iterator[Row]:
        """Yields rows of agreement, memory, latency, and of each of ziprerank's stages against its limit."""
        yield from agreement.rows(self._ours, self._baselines)
        yield from agreement.page_by_page(self._pointwise, self._baselines)
        self._baselines.page_by_page.choose_batch(self._baselines.prepare().features)
        pruning = {(ours.precision, ours.blank): self._pruning(ours) for ours in self._ours}
        units = self._units()
        costs: dict[str, float] = {}
        warm: dict[tuple[object, str], float] = {}
        for name, unit in units.items():
            samples, costs[name] = _timed(unit)
            warm.update({(sample.system, sample.start): sample.total for sample in samples})
        if with_memory:
            names, systems = memory.QUICK if self._options.quick else memory.SYSTEMS, [*self._ours, *self._pointwise]
            yield from memory.rows(systems, self._baselines, self._options.checkpoint, names)
        spent = time.perf_counter() - self._started
        self.least_s = spent + sum(costs.values())
        counts = repeats(costs, self._seconds - spent) if not self._options.quick else dict.fromkeys(units, 1)
        found: dict[tuple[object, str], list[Sample]] = defaultdict(list)
        for names_of_round in rounds(counts):
            for name in names_of_round:
                for sample in _timed(units[name])[0]:
                    found[sample.system, sample.start].append(sample)
        latencies = [self._latency(samples, warm[key], pruning) for key, samples in found.items()]
        yield from latencies
        for ours in self._ours:
            yield from limits.rows(ours, latencies, pruning[ours.precision, ours.blank], self._rates)
        case = self._baselines.case
        spent = time.perf_counter() - self._started
        print(f"{case.pages} pages of {case.bundle.image.longest_side} px: {_said(counts)}, {spent:.0f} s", flush=True)

    def _units(self) -> dict[str, Unit]:
        """Returns what runs in a round; systems on PyTorch are one unit, since they share pages and vision tower."""
        units: dict[str, Unit] = {}
        for ours in [*self._ours, *self._pointwise]:
            for keep_ratio in ours.keep_ratios:
                name = f"{ours.name} {ours.precision} {ours.blank} {keep_ratio:g}"
                units[f"{name} first"] = partial(_alone, ours.first_query, keep_ratio)
                units[f"{name} next"] = partial(_alone, ours.next_query, keep_ratio)
        units["PyTorch"] = self._on_pytorch
        return units

    def _on_pytorch(self) -> list[Sample]:
        pages: Pages = self._baselines.prepare()
        samples = _settled(partial(self._baselines.single_pass, pages))
        for keep_ratio in KEEP_RATIOS[1:]:
            samples += _settled(partial(self._baselines.pruned, pages, keep_ratio))
        samples += _settled(partial(self._baselines.pointwise, pages))
        return samples + _settled(partial(self._baselines.listwise, pages))

    def _pruning(self, ours: Ours) -> dict[float, Share]:
        """Returns the pruning operator's share of one window's pass by keep ratio.

        Empty on a GPU, where ONNX Runtime's profile does not time the operator.
        """
        if ours.provider != "cpu":
            return {}
        case, width = ours.case, ours.case.plan.width
        prompt = PromptBuilder(case.bundle).build(limits.bundle_query(case), width)
        return shares(case.bundle, prompt, ours.grids[:width], ours.read[:width], KEEP_RATIOS)

    def _latency(
        self, samples: Sequence[Sample], warmup_ms: float, pruning: dict[tuple[str, Blank], dict[float, Share]]
    ) -> Row:
        """Sums up one system at one start; ziprerank's pass is split by the share in a profiled pass."""
        first = samples[0]
        system, windows = first.system, self._baselines.case.plan.passes
        stages = {stage: [sample.stages[stage] for sample in samples] for stage in first.stages}
        of_ours = pruning[system.precision, system.blank] if system.name == OURS else {}
        if system.keep_ratio in of_ours:
            share = of_ours[system.keep_ratio].share
            stages["prune"] = [share * time for time in stages["decoder"]]
            stages["decoder"] = [(1 - share) * time for time in stages["decoder"]]
        joules = [sample.energy for sample in samples if sample.energy is not None]
        row = {
            "what": "latency",
            "system": system.name,
            "precision": system.precision,
            "blank": system.blank,
            "keep_ratio": system.keep_ratio,
            "reasoning_tokens": system.reasoning,
            "start": first.start,
            "windows": windows,
            "runs": len(samples),
            "total_ms": machine.quantiles([sample.total for sample in samples]),
            "stages_ms": {stage: machine.quantiles(times) for stage, times in stages.items()},
            "warmup_ms": float(f"{warmup_ms:.4g}"),
            "energy_j": machine.quantiles(joules) if joules else None,
            "text_tokens": first.text_tokens,
            "visual_tokens": first.visual_tokens,
            "kept_tokens": first.kept_tokens,
            "generated_tokens": first.generated_tokens,
        }
        if system.name != "pointwise":
            return row
        passes = self._baselines.page_by_page
        tried = {str(size): float(f"{time:.4g}") for size, time in passes.batches_ms.items()}
        return {**row, "batch": passes.batch, "batches_tried_ms": tried}


def _weight(side: int | None, pages: int, sides: Sequence[int | None], *, with_memory: bool) -> float:
    """Relative cost of a case, in one-page passes.

    Pages go through the vision tower once and through the decoder in every window.
    Page sizes other than the first are scaled by area if both sizes are known.
    """
    windows = 1 + max(0, -(-(pages - MAX_WINDOW) // STRIDE))
    area = (side / sides[0]) ** 2 if side is not None and sides[0] is not None else 1.0
    return (FIXED + pages + windows * min(pages, MAX_WINDOW) + MEMORY * pages * with_memory) * area


def _timed(unit: Unit) -> tuple[list[Sample], float]:
    """Returns the unit's samples and its seconds in all, including untimed work such as emptying the pool."""
    started = time.perf_counter()
    samples = _settled(unit)
    return samples, time.perf_counter() - started


def _alone(query: Callable[[float], Sample], keep_ratio: float) -> list[Sample]:
    return [query(keep_ratio)]


def _settled(unit: Unit) -> list[Sample]:
    time.sleep(SETTLE_S)
    return unit()


def _said(counts: dict[str, int]) -> str:
    least, most = min(counts.values()), max(counts.values())
    return f"{least} rounds" if least == most else f"{least} to {most} rounds"
