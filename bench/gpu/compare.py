"""Compares ziprerank with transformers, in turns, at several numbers of pages and keep ratios."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from ziprerank.bundle import Bundle
from ziprerank.comparison.machine import quantiles
from ziprerank.errors import ZipRerankError

from .aims import FIRST
from .budget import Budget, Row, left_out, not_run
from .device import Device
from .roofline import Roofline
from .systems import Ours, Pages, Run, Transformers, make_pages

KEEP_RATIOS = (1.0, 0.5, 0.25)
LEAST, MOST = 3, 7  # rounds, if time allows
TOLERANCE = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}
"""Largest difference of a page's logit, relative to the spread of the window's 20 logits.

The two systems round in different places.
"""

Key = tuple[str, float, str]  # system, keep ratio, start


@dataclass(frozen=True)
class Comparison:
    """What all cases share.

    Attributes:
        device: for transformers.
        checkpoint: for transformers.
        bundle: exported from ``checkpoint``.
        roofline: rates for the floors.
        page_size: height and width in px.
        counts: numbers of pages.
        budget: the run's time limit.
        seconds: time for the rounds of a case of 20 pages beyond the least; other cases get a share by pages.
    """

    device: Device
    checkpoint: Path
    bundle: Bundle
    roofline: Roofline
    page_size: tuple[int, int]
    counts: tuple[int, ...]
    budget: Budget
    seconds: float = 40.0

    def rows(self, providers: Sequence[str]) -> Iterator[Row]:
        """Yields rows provider by provider.

        What does not run has a row with the reason; transformers is measured alone if no engine runs.
        """
        with self.budget.paused():
            try:
                theirs: Transformers | None = Transformers(self.checkpoint, self.bundle, self.device)
            except (ImportError, RuntimeError) as error:
                theirs = None
                yield not_run("transformers", error)
        try:
            import_module("ziprerank.comparison.limits")  # needs the engine's library
        except ImportError as error:
            yield not_run("floors of vision tower and decoder", error)
        alone = True  # transformers is still to be measured where no engine runs
        for provider in providers:
            ours = None
            with self.budget.paused():
                if self.device.cuda:
                    torch.cuda.empty_cache()  # room for the engine
                try:
                    ours = Ours(self.bundle, provider, self.device)
                    yield {"what": "engine", "asked_for": provider, "engine": ours.info}
                except (ImportError, ZipRerankError) as error:
                    yield not_run(f"engine on {provider}", error)
            if ours is not None:
                yield from self._cases(ours, theirs, provider)
                alone = False
            del ours
            gc.collect()
        if alone and theirs is not None:
            yield from self._cases(None, theirs, None)

    def _cases(self, ours: Ours | None, theirs: Transformers | None, provider: str | None) -> Iterator[Row]:
        for count in self.counts:
            section = f"{count} pages on {provider}" if provider else f"{count} pages, transformers alone"
            if not self.budget.fits("rankings", count):
                yield left_out(section, self.budget)
                continue
            try:
                yield from self._case(ours, theirs, provider, count)
            except (RuntimeError, ZipRerankError) as error:  # such as out of memory
                yield not_run(section, error)

    def _case(self, ours: Ours | None, theirs: Transformers | None, provider: str | None, count: int) -> Iterator[Row]:
        started = time.monotonic()
        pages = make_pages(count, self.page_size)
        if ours is not None and theirs is not None:
            yield from self._agreement(ours, theirs, pages)
        warm = one_round(ours, theirs, pages)
        samples: dict[Key, list[Run]] = defaultdict(list)
        seconds, rounds = 0.0, 0
        while rounds == 0 or (rounds < MOST and self._goes_on(started, seconds, rounds, count)):
            begun = time.monotonic()
            for key, run in one_round(ours, theirs, pages).items():
                samples[key].append(run)
            rounds += 1
            seconds = time.monotonic() - begun
        self.budget.spent("rankings", count, time.monotonic() - started - (rounds - 1) * seconds)
        clocks = self.device.clocks()
        tokens = count * self.page_size[0] * self.page_size[1] // self.bundle.image.factor**2
        for (system, keep_ratio, start), runs in samples.items():
            yield {
                "what": "latency",
                "system": system,
                "provider": provider,
                "pages": count,
                "keep_ratio": keep_ratio,
                "start": start,
                "runs": rounds,
                "total_ms": quantiles([run.total for run in runs]),
                "stages_ms": {stage: quantiles([run.stages[stage] for run in runs]) for stage in runs[0].stages},
                "warmup_ms": float(f"{warm[system, keep_ratio, start].total:.4g}"),
                "text_tokens": runs[0].text,
                "visual_tokens": tokens,
                "kept_tokens": runs[0].kept,
                "floor_ms": self._floors(count, runs[0]),
                "clocks": clocks,
            }

    def _goes_on(self, started: float, seconds: float, rounds: int, count: int) -> bool:
        if self.budget.left < seconds:
            return False
        return rounds < LEAST or time.monotonic() - started < self.seconds * count / 20

    def _agreement(self, ours: Ours, theirs: Transformers, pages: Pages) -> Iterator[Row]:
        """Compares the logits on equal pixels: in fp32 a difference ends the run, in half precision it is a row."""
        expected = theirs.runs(pages, KEEP_RATIOS)
        tolerance = TOLERANCE[self.bundle.precision]
        for keep_ratio in KEEP_RATIOS:
            found, wanted = ours.run(pages, keep_ratio), expected[keep_ratio][FIRST]
            if (found.text, found.kept) != (wanted.text, wanted.kept):
                raise SystemExit(
                    f"ziprerank read {found.text} text and {found.kept} visual tokens, transformers {wanted.text} and "
                    f"{wanted.kept}: their times are not comparable"
                )
            assert wanted.spread is not None
            error = float(np.abs(found.logits - wanted.logits).max()) / wanted.spread
            if self.bundle.precision == "fp32" and not error <= tolerance:
                raise SystemExit(
                    f"logits differ by {error:.1e} of their spread, at most {tolerance:.0e} is allowed: "
                    "their times are not comparable"
                )
            yield {
                "what": "agreement",
                "provider": ours.info["provider"],
                "pages": len(pages),
                "keep_ratio": keep_ratio,
                "max_logit_error": float(f"{error:.3g}"),
                "tolerance": tolerance,
                "agrees": error <= tolerance,
            }

    def _floors(self, count: int, run: Run) -> dict[str, float]:
        """Returns the milliseconds that a stage's operations and bytes take at the roofline's rates.

        They are counted by `ziprerank.comparison.limits`, without pruning, which is under a thousandth of the decoder.
        Empty if that module cannot be imported; `rows` then has a row with the reason.
        """
        try:
            from ziprerank.comparison.limits import decoder, vision
        except ImportError:
            return {}

        height, width = self.page_size
        patches = height * width // self.bundle.image.patch_size**2
        tower, passed = vision(self.bundle, patches), decoder(self.bundle, run.text, run.kept)
        return {
            "vision": float(f"{count * self.roofline.floor_ms(tower.operations, tower.bytes):.4g}"),
            "decoder": float(f"{self.roofline.floor_ms(passed.operations, passed.bytes):.4g}"),
        }


def one_round(ours: Ours | None, theirs: Transformers | None, pages: Pages) -> dict[Key, Run]:
    """Runs each system once at every keep ratio, one after the other."""
    out: dict[Key, Run] = {}
    if ours is not None:
        for keep_ratio in KEEP_RATIOS:
            for start, run in ours.runs(pages, keep_ratio).items():
                out[ours.name, keep_ratio, start] = run
    if theirs is not None:
        for keep_ratio, runs in theirs.runs(pages, KEEP_RATIOS).items():
            for start, run in runs.items():
                out[theirs.name, keep_ratio, start] = run
    return out
