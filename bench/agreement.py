"""Before anything is timed: all systems do the same work, or the run ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from ziprerank.windows import Outcome

from .baselines import Baselines, Scored
from .cases import KEEP_RATIOS
from .ours import Ours

TOLERANCE = 1e-3
"""largest difference of a letter logit, relative to the spread of the window's 20 letter logits"""
SIZE_TOLERANCE = 0.01
"""rendering straight at a size, and rendering large then shrinking, may round a side differently"""


@torch.inference_mode()
def agreement_rows(ours: Ours, baselines: Baselines) -> Iterator[dict[str, Any]]:
    """One row per keep ratio: ours against the paper's pruning in PyTorch on equal pixels; at ratio 1 also against no
    pruning and, for one window, against ``forward`` of transformers itself. Raises SystemExit when they differ."""
    model, case = baselines.model, baselines.case
    pixels = model.process([Image.fromarray(page) for page in ours.pixels])
    features = model.encode(pixels)
    _check_sizes(features.tokens, baselines)
    for keep_ratio in KEEP_RATIOS:
        ranking = ours.rank_pixels(ours.pixels, keep_ratio)
        mine = {page.index: page.score for page in ranking}
        errors = {"transformers_pruned": _error(mine, baselines.scores(features, keep_ratio)[0])}
        if keep_ratio == 1:
            errors["transformers"] = _error(mine, baselines.scores(features, None)[0])
            if len(case.plan.starts) == 1:
                letters = model.whole(baselines.prompt.text_ids, pixels, features).numpy()
                scores = np.array([mine[page] for page in range(case.pages)])
                errors["transformers_forward"] = float(np.abs(scores - letters[: case.pages]).max() / np.ptp(letters))
        for other, error in errors.items():
            if not error <= TOLERANCE:
                raise SystemExit(
                    f"{case.pages} pages, keep ratio {keep_ratio}: ziprerank's logits and those of {other} differ by "
                    f"{error:.1e} of their spread, {TOLERANCE:.0e} is allowed: a comparison of times would mean nothing"
                )
        yield {
            "what": "agreement",
            "keep_ratio": keep_ratio,
            "max_logit_error": {other: float(f"{error:.3g}") for other, error in errors.items()},
            "tolerance": TOLERANCE,
        }


def _error(mine: dict[int, float], theirs: Outcome[Scored]) -> float:
    return max(abs(mine[page] - scored.logit) / scored.spread for page, scored in theirs.latest.items())


def _check_sizes(tokens: tuple[torch.Tensor, ...], baselines: Baselines) -> None:
    """The pages that each side renders by itself have the same number of visual tokens."""
    direct = sum(len(page) for page in tokens)
    rendered = sum(len(page) for page in baselines.prepare().features.tokens)
    if abs(direct - rendered) > SIZE_TOLERANCE * direct:
        raise SystemExit(
            f"{baselines.case.pdf}: ziprerank renders {direct} visual tokens, 200 dpi and LANCZOS give {rendered}: "
            "the systems would read different pages"
        )
