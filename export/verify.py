"""The parity certificate of a bundle: its graphs in stock ONNX Runtime against transformers' modules, float32."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import transformers
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

from .bundle import read_manifest, write_manifest
from .errors import ExportError
from .host import Host, HostScores
from .prompt import LETTERS
from .reference import Reference, ReferenceScores

TOLERANCE = 1e-3
"""largest error of a letter logit that passes, relative to the spread of the window's logits"""
TIE = 1e-5
"""tokens whose relevance (a cosine, float32) lies this close to the threshold may swap"""
PAGE_COUNTS = (1, 4, 20)
KEEP_RATIOS = (1.0, 0.5, 0.25)
SIZES = ((256, 256), (320, 256), (256, 384), (288, 288))
QUERY = 'What was the "net revenue" in 2024?'


def verify_bundle(bundle: Path, checkpoint: Path) -> dict[str, Any]:
    """Compare ``bundle`` with the ``checkpoint`` directory it came from, and write the certificate into its manifest.

    Returns:
        The certificate: what was compared with what, and the largest errors seen.

    Raises:
        ExportError: the bundle is not in fp32, or scores or kept sets disagree; then the manifest stays as it was.
    """
    manifest = read_manifest(bundle)
    if manifest["precision"] != "fp32":
        raise ExportError(
            f"{bundle} computes in {manifest['precision']}: parity within {TOLERANCE} is a matter of fp32; "
            "export the checkpoint with --precision fp32 to verify its graphs"
        )
    host = Host(bundle)
    image = manifest["image"]
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
    if not worst <= TOLERANCE:
        raise ExportError(f"{bundle}: letter logits are off by {worst:.1e} of their spread, {TOLERANCE:.0e} is allowed")
    certificate = {
        "reference": f"transformers {transformers.__version__}, float32",
        "runtime": f"onnxruntime {onnxruntime.__version__}, CPU, function body",
        "checkpoint": checkpoint.resolve().name,
        "pages": list(PAGE_COUNTS),
        "keep_ratios": list(KEEP_RATIOS),
        "max_logit_error": float(f"{worst:.3g}"),
        "tolerance": TOLERANCE,
        "kept_sets": "equal",
        "date": datetime.date.today().isoformat(),
    }
    write_manifest(bundle, {**manifest, "parity": certificate})
    return certificate


def logit_error(actual: HostScores, expected: ReferenceScores) -> float:
    """Largest difference of a letter logit, relative to the spread of the expected ones."""
    return float(np.abs(actual.logits - expected.logits).max() / np.ptp(expected.logits))


def compare_kept(actual: Sequence[NDArray[np.int64]], expected: ReferenceScores) -> None:
    """Kept sets must be equal, up to swaps between tokens of the same relevance.

    Raises:
        ExportError: they are not.
    """
    for page, (mine, theirs, relevance) in enumerate(zip(actual, expected.kept, expected.relevance, strict=True)):
        threshold = relevance[theirs].min()
        swapped = np.setxor1d(mine, theirs)
        if len(mine) != len(theirs) or np.abs(relevance[swapped] - threshold).max(initial=0) > TIE:
            raise ExportError(f"page {page}: other visual tokens are kept than by the reference: {swapped.tolist()}")


def prompt_ids(bundle: Path, prompt: dict[str, Any], query: str, pages: int) -> list[int]:
    """The tokenised prompt for ``pages`` pages, with one image pad for each."""
    items = [
        prompt["order_item"].replace("{i}", str(number)).replace("{letter}", letter)
        for number, letter in enumerate(LETTERS[:pages], 1)
    ]
    if prompt["query_case"] == "lower":
        query = " ".join(query.lower().split())
    lines = "\n".join(prompt["lines"]).replace("{k}", str(pages))
    lines = lines.replace("{order}", prompt["order_separator"].join(items)).replace("{query}", query)
    text = prompt["prefix"] + lines + prompt["page"].replace("{image}", "<|image_pad|>") * pages + prompt["suffix"]
    ids: list[int] = Tokenizer.from_file(str(bundle / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return ids


def page_image(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A page with lines of text, a box and some noise, always the same for ``number``; ``size`` is (height, width)."""
    rng = np.random.default_rng(number)
    height, width = size
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    for y in range(8, height - 16, 16):
        words = " ".join("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 5)) for _ in range(width // 40))
        draw.text((6, y), words, fill=tuple(rng.integers(0, 120, 3).tolist()), font=font)
    left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
    draw.rectangle((left, top, left + 60, top + 40), fill=tuple(rng.integers(0, 256, 3).tolist()))
    noisy = np.asarray(image, np.int64) + rng.integers(-8, 9, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)
