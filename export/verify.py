"""The parity certificate of a bundle: its graphs in stock ONNX Runtime compared with transformers in float32."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import transformers
from numpy.typing import NDArray

from .errors import ExportError
from .host import Host, HostScores
from .manifest import precision_name, read_manifest, write_manifest
from .reference import Reference, ReferenceScores
from .samples import SIZES, page_image, prompt_ids

TOLERANCE = 1e-3
"""Largest allowed error of a letter logit, relative to the spread of the window's logits, or of the log-odds of yes."""
TIE = 1e-5
"""Tokens whose relevance (a cosine, float32) is this close to the threshold may swap."""
PAGE_COUNTS = (1, 4, 20)
KEEP_RATIOS = (1.0, 0.5, 0.25)
TEXT = "Net revenue rose by 12% in 2024."
QUERY = 'What was the "net revenue" in 2024?'


def verify_bundle(bundle: Path, checkpoint: Path) -> dict[str, Any]:
    """Compares a bundle with the checkpoint directory it came from, and writes the certificate into its manifest.

    Returns:
        The certificate: what was compared, and the largest errors seen.

    Raises:
        ExportError: The bundle is not in fp32, or scores or kept tokens differ. The manifest is then left unchanged.
    """
    manifest = read_manifest(bundle)
    name = precision_name(manifest)
    if name != "fp32":
        raise ExportError(
            f"{bundle} computes in {name}: only fp32 reaches parity within {TOLERANCE}; export the checkpoint with "
            "--precision fp32 to verify its graphs, and compare this bundle's rankings with that one's "
            "(ziprerank verify BUNDLE FP32_BUNDLE)"
        )
    pointwise = manifest["prompt"].get("scoring") == "yes_no"
    worst = _log_odds_error(bundle, manifest, checkpoint) if pointwise else _letters_error(bundle, manifest, checkpoint)
    if not worst <= TOLERANCE:
        what = "log-odds are off by {:.1e}" if pointwise else "letter logits are off by {:.1e} of their spread"
        raise ExportError(f"{bundle}: {what.format(worst)}, {TOLERANCE:.0e} is allowed")
    certificate = {
        "reference": f"transformers {transformers.__version__}, float32",
        "runtime": f"onnxruntime {onnxruntime.__version__}, CPU, function body",
        "checkpoint": checkpoint.resolve().name,
        "pages": [1] if pointwise else list(PAGE_COUNTS),
        "keep_ratios": list(KEEP_RATIOS),
        "max_log_odds_error" if pointwise else "max_logit_error": float(f"{worst:.3g}"),
        "tolerance": TOLERANCE,
        "kept_sets": "equal",
        "date": datetime.date.today().isoformat(),
    }
    write_manifest(bundle, {**manifest, "parity": certificate})
    return certificate


def _letters_error(bundle: Path, manifest: Mapping[str, Any], checkpoint: Path) -> float:
    """Returns the largest error of a letter logit, relative to the spread of its window's. Raises ExportError."""
    host, image = Host(bundle), manifest["image"]
    reference = Reference(checkpoint, mean=image["mean"], std=image["std"], letters=manifest["tokens"]["letters"])
    pages = [page_image(number, SIZES[number % len(SIZES)]) for number in range(max(PAGE_COUNTS))]
    ours, theirs = [host.encode(page) for page in pages], [reference.encode(page) for page in pages]
    worst = 0.0
    for count, keep_ratio in product(PAGE_COUNTS, KEEP_RATIOS):
        ids = prompt_ids(bundle, manifest["prompt"], QUERY, count)
        expected = reference.score(ids, theirs[:count], keep_ratio)
        actual = host.score(ids, ours[:count], keep_ratio)
        compare_kept(actual.kept, expected)
        worst = max(worst, logit_error(actual, expected))
    return worst


def _log_odds_error(bundle: Path, manifest: Mapping[str, Any], checkpoint: Path) -> float:
    """Returns the largest error of the log-odds of pages, of pages with a text, and of a text. Raises ExportError."""
    host, image, prompt, tokens = Host(bundle), manifest["image"], manifest["prompt"], manifest["tokens"]
    reference = Reference(checkpoint, mean=image["mean"], std=image["std"], yes_no=(tokens["yes"], tokens["no"]))
    worst = 0.0
    pages = [page_image(number, size) for number, size in enumerate(SIZES)]
    texts = (None, TEXT) if "text" in prompt else (None,)
    encoded = [([host.encode(page)], [reference.encode(page)]) for page in pages]
    documents = [*product(encoded, texts), *([(([], []), TEXT)] if "text" in prompt else [])]
    for ((ours, theirs), text), keep_ratio in product(documents, KEEP_RATIOS):
        ids = prompt_ids(bundle, prompt, QUERY, len(ours), text)
        expected, actual = reference.score(ids, theirs, keep_ratio), host.score(ids, ours, keep_ratio)
        compare_kept(actual.kept, expected)
        worst = max(worst, float(np.abs(actual.logits - expected.logits).max()))
    return worst


def logit_error(actual: HostScores, expected: ReferenceScores) -> float:
    """Computes the largest difference of a letter logit, relative to the spread of the expected ones."""
    return float(np.abs(actual.logits - expected.logits).max() / np.ptp(expected.logits))


def compare_kept(actual: Sequence[NDArray[np.int64]], expected: ReferenceScores) -> None:
    """Checks that the kept tokens are the same, up to swaps between tokens of equal relevance.

    Raises:
        ExportError: They are not.
    """
    for page, (mine, theirs, relevance) in enumerate(zip(actual, expected.kept, expected.relevance, strict=True)):
        threshold = relevance[theirs].min()
        swapped = np.setxor1d(mine, theirs)
        if len(mine) != len(theirs) or np.abs(relevance[swapped] - threshold).max(initial=0) > TIE:
            raise ExportError(f"page {page}: the kept visual tokens differ from the reference's in {swapped.tolist()}")
