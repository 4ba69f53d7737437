"""Checks, before anything is timed, that all systems compute the same logits; if not, the run ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from ziprerank.export.agreement import kendall_tau
from ziprerank.windows import Outcome

from .baselines import Baselines, Scored
from .cases import KEEP_RATIOS
from .ours import Ours
from .torch_model import Features

TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
"""Largest allowed difference of a letter logit, relative to the spread of the window's 20 letter logits, and of the
log-odds of a page that is scored by itself.

Keys are the precision of both sides.
Quantised weights and dropped blank tokens change the logits, so for these the difference is only reported.
"""
SIZE_TOLERANCE = 0.01
"""Allowed relative difference of token counts: rendering at a size and rendering larger then shrinking round sides
differently."""


class Agreement:
    """Checks all cases of one page size; each page is encoded once for all of them, from ziprerank's pixels."""

    def __init__(self) -> None:
        self._pages: dict[int, Features] = {}

    @torch.inference_mode()
    def rows(self, systems: Sequence[Ours], baselines: Baselines) -> Iterator[dict[str, Any]]:
        """Compares ziprerank with the paper's pruning in PyTorch on equal pixels.

        At keep ratio 1 it is also compared with no pruning and with transformers' own ``forward``.
        Several windows are many passes of the same code, so they are compared at keep ratio 0.5 only.

        Args:
            systems: ziprerank on each bundle and blank option, all on the same pages.
            baselines: the systems on PyTorch for the same case.

        Yields:
            One row per bundle and keep ratio.

        Raises:
            SystemExit: logits differ by more than `TOLERANCES` allows, or the two sides render pages of other sizes.
        """
        case = baselines.case
        features = self._features(systems[0], baselines)
        _check_sizes(features, baselines)
        one_window = len(case.plan.starts) == 1
        for keep_ratio in KEEP_RATIOS if one_window else (0.5,):
            theirs = {"transformers_pruned": baselines.scores(features, keep_ratio)[0]}
            if keep_ratio == 1:
                theirs["transformers"] = baselines.scores(features, None)[0]
                theirs["transformers_forward"] = _forward(systems[0], baselines, features)
            for ours in systems:
                mine = {page.index: page.score for page in ours.rank_pixels(keep_ratio)}
                errors = {other: _error(mine, outcome) for other, outcome in theirs.items()}
                yield {
                    **_checked(ours, errors, keep_ratio, "logits", "of their spread"),
                    "max_logit_error": _rounded(errors),
                    "kendall_tau": _tau(mine, _logits(theirs["transformers_pruned"])),
                }

    @torch.inference_mode()
    def page_by_page(self, systems: Sequence[Ours], baselines: Baselines) -> Iterator[dict[str, Any]]:
        """Compares ziprerank's log-odds with those of the pointwise system, and of transformers' ``forward``.

        Args:
            systems: ziprerank on each bundle that scores each page by itself, and blank option.
            baselines: as for `rows`.

        Yields:
            One row per system.

        Raises:
            SystemExit: as `rows`.
        """
        if not systems:
            return
        features, passes = self._features(systems[0], baselines), baselines.page_by_page
        theirs = {
            "pointwise": passes.log_odds(features)[0],
            "transformers_forward": [
                passes.whole(page, self._pages[number])
                for page, number in zip(systems[0].pixels, baselines.case.numbers, strict=True)
            ],
        }
        for ours in systems:
            mine = {page.index: page.score for page in ours.rank_pixels(1.0)}
            errors = {
                other: max(abs(mine[page] - score) for page, score in enumerate(scores))
                for other, scores in theirs.items()
            }
            yield {
                **_checked(ours, errors, 1.0, "log-odds", "in all"),
                "max_log_odds_error": _rounded(errors),
                "kendall_tau": _tau(mine, dict(enumerate(theirs["pointwise"]))),
            }

    def _features(self, ours: Ours, baselines: Baselines) -> Features:
        numbers, model = baselines.case.numbers, baselines.model
        for number, page in zip(numbers, ours.pixels, strict=True):
            if number not in self._pages:
                self._pages[number] = model.encode(model.process([Image.fromarray(page)]))
        pages = [self._pages[number] for number in numbers]
        levels = zip(*(page.deepstack for page in pages), strict=True)
        return Features(
            tuple(page.tokens[0] for page in pages),
            tuple(tuple(level[0] for level in of_pages) for of_pages in levels),
            torch.cat([page.grids for page in pages]),
        )


def _forward(ours: Ours, baselines: Baselines, features: Features) -> Outcome[Scored]:
    """Ranks all pages with ``Qwen3VLForConditionalGeneration.forward``."""
    model = baselines.model
    pixels = model.process([Image.fromarray(page) for page in ours.pixels])
    letters = model.whole(baselines.prompt.text_ids, pixels, features)[model.letters]
    spread = float(letters.max() - letters.min())
    latest = {page: Scored(logit, spread) for page, logit in enumerate(letters[: len(ours.pixels)].tolist())}
    order = tuple(sorted(latest, key=lambda page: -latest[page].logit))
    return Outcome(order, latest, dict.fromkeys(latest, (0,)))


def _checked(ours: Ours, errors: dict[str, float], keep_ratio: float, what: str, unit: str) -> dict[str, Any]:
    """Returns the columns of any row of agreement. Raises SystemExit if an error is larger than `TOLERANCES` allows."""
    tolerance = TOLERANCES.get(ours.precision) if ours.blank == "keep" else None
    for other, error in errors.items():
        if tolerance is not None and not error <= tolerance:
            raise SystemExit(
                f"{ours.case.pages} pages, keep ratio {keep_ratio:g}: {what} of {ours.name} {ours.precision} and of "
                f"{other} differ by {error:.1e} {unit}, at most {tolerance:.0e} is allowed: "
                "times would not be comparable. Is the bundle an export of this checkpoint?"
            )
    row = {"what": "agreement", "system": ours.name, "precision": ours.precision, "blank": ours.blank}
    return {**row, "keep_ratio": keep_ratio, "tolerance": tolerance}


def _rounded(errors: dict[str, float]) -> dict[str, float]:
    return {other: float(f"{error:.3g}") for other, error in errors.items()}


def _logits(outcome: Outcome[Scored]) -> dict[int, float]:
    return {page: scored.logit for page, scored in outcome.latest.items()}


def _error(mine: dict[int, float], theirs: Outcome[Scored]) -> float:
    return max(abs(mine[page] - scored.logit) / scored.spread for page, scored in theirs.latest.items())


def _tau(mine: dict[int, float], theirs: dict[int, float]) -> float | None:
    """Kendall's tau of the two orders by score; None for a single page."""
    if len(mine) < 2:
        return None
    pages = sorted(mine)
    ours, other = np.array([mine[page] for page in pages]), np.array([theirs[page] for page in pages])
    return round(kendall_tau(ours, other), 4)


def _check_sizes(features: Features, baselines: Baselines) -> None:
    """Raises SystemExit unless the pages that each side renders have the same number of visual tokens."""
    direct = sum(len(page) for page in features.tokens)
    rendered = sum(baselines.process().counts(baselines.model.bundle.image.merge_size))
    if abs(direct - rendered) > SIZE_TOLERANCE * direct:
        raise SystemExit(
            f"{baselines.case.pdf}: ziprerank renders {direct} visual tokens, rendering at 200 dpi and shrinking gives "
            f"{rendered}, at most {SIZE_TOLERANCE:.0%} apart is allowed: the systems would read different pages"
        )
