"""How well two bundles of one checkpoint agree on rankings: the quality measure of a quantised bundle.

Logits may all move without changing the ranking, so the report starts with the order: Kendall's tau, and how often the
first page is the same.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ExportError
from .manifest import precision_name, read_manifest, write_manifest

SHARED = ("source", "image", "prompt", "tokens")  # equal in bundles that read the same pages and text


@dataclass(frozen=True, slots=True)
class Judged:
    """Result of one pass.

    Attributes:
        scores: ``[K]``: the logit of each page.
        kept: The kept visual tokens of each page.
    """

    scores: NDArray[np.floating[Any]]
    kept: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement over all passes on one set of pages at one keep ratio.

    Attributes:
        pages: Name of the set of pages.
        keep_ratio: Share of each page's visual tokens that was kept.
        passes: Number of passes.
        candidates: Pages of the largest pass.
        kendall_tau: Mean over passes.
        lowest_tau: Lowest of the passes.
        top1: Share of passes whose first page is the same.
        max_logit_error: Largest difference of a page's logit.
        relative_logit_error: Largest difference of a logit as a share of the spread of its pass's reference logits.
        kept_overlap: Share of the reference's kept tokens that the candidate keeps too, mean over pages.
    """

    pages: str
    keep_ratio: float
    passes: int
    candidates: int
    kendall_tau: float
    lowest_tau: float
    top1: float
    max_logit_error: float
    relative_logit_error: float
    kept_overlap: float


def kendall_tau(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """Computes Kendall's tau-b of two lists of scores (Kendall 1945): 1 for the same order, -1 for the reverse.

    A pair that is tied in either list adds nothing to the numerator; each list's norm counts its untied pairs. The
    result is 0 if all scores of a list are equal.
    """
    signs = np.array(
        [(np.sign(first[j] - first[i]), np.sign(second[j] - second[i])) for i, j in combinations(range(len(first)), 2)]
    )
    ordered = np.abs(signs).sum(axis=0)
    if not ordered.all():
        return 0.0
    return float((signs[:, 0] * signs[:, 1]).sum() / np.sqrt(ordered[0] * ordered[1]))


def compare(pages: str, keep_ratio: float, reference: Sequence[Judged], candidate: Sequence[Judged]) -> Agreement:
    """Computes the agreement of ``candidate`` with ``reference``, pass by pass.

    Args:
        pages: Name of the set of pages.
        keep_ratio: At which both ran.
        reference: Passes of at least two pages each.
        candidate: The same passes.

    Raises:
        ExportError: A pass has one page, or its reference logits are all equal, so that it has no order.
    """
    for judged in reference:
        if len(judged.scores) < 2 or np.ptp(judged.scores) == 0:
            raise ExportError(
                f"{pages}: {len(judged.scores)} pages without an order: give two pages or more that differ"
            )
    pairs = list(zip(reference, candidate, strict=True))
    taus = [kendall_tau(ours.scores, theirs.scores) for ours, theirs in pairs]
    errors = [float(np.abs(ours.scores - theirs.scores).max()) for ours, theirs in pairs]
    overlaps = [
        len(mine & other) / len(mine)
        for ours, theirs in pairs
        for mine, other in zip(ours.kept, theirs.kept, strict=True)
    ]
    return Agreement(
        pages=pages,
        keep_ratio=keep_ratio,
        passes=len(pairs),
        candidates=max(len(judged.scores) for judged in reference),
        kendall_tau=float(np.mean(taus)),
        lowest_tau=min(taus),
        top1=float(np.mean([ours.scores.argmax() == theirs.scores.argmax() for ours, theirs in pairs])),
        max_logit_error=max(errors),
        relative_logit_error=max(
            error / float(np.ptp(ours.scores)) for error, (ours, _) in zip(errors, pairs, strict=True)
        ),
        kept_overlap=float(np.mean(overlaps)),
    )


def check_comparable(bundle: Path, reference: Path) -> None:
    """Checks that two bundles read the same pages and the same prompt, and that the reference is in fp32.

    Raises:
        ExportError: They do not, or it is not.
    """
    ours, theirs = read_manifest(bundle), read_manifest(reference)
    if precision_name(theirs) != "fp32":
        raise ExportError(
            f"{reference} computes in {precision_name(theirs)}: rankings are compared with those of a bundle in fp32, "
            "export one with --precision fp32"
        )
    different = [key for key in SHARED if ours[key] != theirs[key]]
    if different:
        raise ExportError(
            f"{bundle} and {reference} differ in {', '.join(different)}: export both from one checkpoint, with the "
            "same options except --target and --precision"
        )


def record(bundle: Path, reference: Path, runtime: str, rows: Sequence[Agreement]) -> dict[str, Any]:
    """Writes the report into the manifest of ``bundle``, and returns it.

    Args:
        bundle: The bundle that was compared.
        reference: The bundle in fp32.
        runtime: What ran ``bundle``, for the report.
        rows: One for each set of pages and keep ratio.
    """
    manifest = read_manifest(bundle)
    report: Mapping[str, Any] = {
        "precision": precision_name(manifest),
        "reference": read_manifest(reference)["bundle_id"],
        "runtime": runtime,
        "rows": [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows],
        "date": datetime.date.today().isoformat(),
    }
    write_manifest(bundle, {**manifest, "agreement": report})
    return dict(report)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
