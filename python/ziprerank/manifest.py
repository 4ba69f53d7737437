"""What a bundle's manifest may say (docs/bundle.md). Keys that this version does not know are ignored."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ziprerank.errors import BundleError, quoted
from ziprerank.strict_json import Fields, is_plain_name, read_fields

FORMAT_VERSION = 2
MANIFEST = "ziprerank.json"
REQUIRED = ("tokenizer.json", "vision.onnx", "rerank.onnx")

Blank = Literal["drop", "keep"]
"""Whether visual tokens of blank paper are left out before the model or read like all others."""

Scoring = Literal["letters", "yes_no"]
"""What a score is: the logit of a page's letter among those of its window, or the log-odds of yes for one page."""

_MOST_LETTERS = 26
_MOST_FILES = 10_000
_MOST_ID = 2**31 - 1
_MOST_PIXELS = 2**31 - 1
_MOST_SIZE = 1 << 50  # bytes of a file: a petabyte


@dataclass(frozen=True, slots=True)
class ImageRules:
    """How pages are brought to their final size, in pixels.

    Attributes:
        patch_size: Side of a patch of the vision tower.
        merge_size: Patches along each side of a visual token.
        min_pixels: Smallest area of a page.
        max_pixels: Largest area of a page.
        longest_side: Longest side of a page.
        dpi: Resolution of PDF pages, as far as ``longest_side`` allows it; None renders them at ``longest_side``.
    """

    patch_size: int
    merge_size: int
    min_pixels: int
    max_pixels: int
    longest_side: int
    dpi: float | None = None

    @property
    def factor(self) -> int:
        """Side of a visual token in pixels."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True, slots=True)
class PromptRules:
    """The prompt as data: system + prefix + the lines joined with newlines + one block per page + text + suffix.

    Attributes:
        system: The system turn, whole; empty for none.
        instruction: What stands for ``{instruction}`` in the lines by default; None: there is no slot.
        text: The block of a document's text, with ``{text}``; None: there is no slot.
        scoring: ``letters`` scores a window by a letter for each page, ``yes_no`` one page by the answer to a question.
        most_tokens: Most tokens of a prompt with visual tokens but without the suffix; None: no limit of its own.
    """

    prefix: str
    lines: tuple[str, ...]
    order_item: str
    order_separator: str
    page: str
    suffix: str
    query_case: Literal["keep", "lower"]
    system: str = ""
    instruction: str | None = None
    text: str | None = None
    scoring: Scoring = "letters"
    most_tokens: int | None = None

    @property
    def pointwise(self) -> bool:
        """Whether each page is scored by itself."""
        return self.scoring == "yes_no"


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Token ids. ``letters`` score a window, one for each of its pages; with yes/no the only one is that of yes."""

    letters: tuple[int, ...]
    image_pad: int
    vision_start: int
    vision_end: int
    video_pad: int
    no: int | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the bundle recommends; with ``pointwise`` a pass is one page, so that no window slides.

    ``window`` and ``stride`` are 1 then. ``relevance_ranks`` says that late interaction may pick the pages to read.
    """

    keep_ratio: float
    window: int
    stride: int
    prune_text: Literal["all_before_image", "query_only"]
    blank: Blank = "keep"
    pointwise: bool = False
    relevance_ranks: bool = False


@dataclass(frozen=True, slots=True)
class BundleFile:
    size: int
    sha256: str


def read_manifest_fields(folder: Path) -> Fields:
    """Reads the manifest of the bundle in ``folder`` and checks its version. Raises BundleError."""
    try:
        if not folder.is_dir():
            raise BundleError(f"no bundle at {folder}: a bundle is a directory that holds {MANIFEST}")
        fields = read_fields(folder / MANIFEST, BundleError)
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle, it holds no {MANIFEST}: run ziprerank export first") from None
    except (OSError, ValueError) as error:  # a path that no file system takes
        raise BundleError(f"no bundle at {quoted(str(folder))}: {error}") from error
    fields = Fields(fields.values, MANIFEST, BundleError)
    version = fields.whole("format_version", 1, 2**31)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {version}, this ziprerank reads up to {FORMAT_VERSION}: upgrade ziprerank"
        )
    return fields


def check_manifest(manifest: Fields) -> None:
    """Checks every part that a program reads. Raises BundleError."""
    for key in ("bundle_id", "created_by", "target"):
        manifest.text(key, most=256)
    manifest.text("features_id", "", most=256)
    manifest.choice("precision", ("fp32", "fp16", "bf16"))
    parse_image(manifest)
    parse_prompt(manifest)
    parse_defaults(manifest, len(parse_tokens(manifest).letters))
    parse_files(manifest)
    for key in ("model", "source"):
        manifest.object(key)
    if "parity" in manifest:
        manifest.object("parity")
    if "quantisation" in manifest:
        manifest.object("quantisation").text("precision", most=256)
    for plan in manifest.objects("plans", []):
        plan.text("provider", most=256)


def parse_image(manifest: Fields) -> ImageRules:
    """Reads ``image``. Raises BundleError."""
    image = manifest.object("image")
    rules = ImageRules(
        patch_size=image.whole("patch_size", 0, 1024),
        merge_size=image.whole("merge_size", 0, 64),
        min_pixels=image.whole("min_pixels", 1, _MOST_PIXELS),
        max_pixels=image.whole("max_pixels", 1, _MOST_PIXELS),
        longest_side=image.whole("longest_side", 0, 1 << 16),
        dpi=image.number("dpi", 0, 10_000) if "dpi" in image else None,
    )
    smallest = min(rules.patch_size, rules.merge_size, math.inf if rules.dpi is None else rules.dpi)
    if smallest <= 0 or rules.longest_side < rules.factor or rules.max_pixels < max(rules.min_pixels, rules.factor**2):
        raise BundleError(f"{MANIFEST}: image rules that no page can meet: {rules}")
    for key in ("mean", "std"):  # for hosts that normalise by themselves
        if key in image and 0 in image.numbers(key, (3, 3), -1e6, 1e6) and key == "std":
            image.refuse("std", "holds 0, by which no pixel can be divided")
    return rules


def parse_prompt(manifest: Fields) -> PromptRules:
    """Reads ``prompt``. Raises BundleError."""
    prompt = manifest.object("prompt")
    scoring = cast(Scoring, prompt.choice("scoring", ("letters", "yes_no"), "letters"))
    order = {
        key: prompt.text(key) for key in ("order_item", "order_separator") if scoring == "letters" or key in prompt
    }
    rules = PromptRules(
        prefix=prompt.text("prefix"),
        lines=tuple(prompt.texts("lines")),
        order_item=order.get("order_item", ""),
        order_separator=order.get("order_separator", ""),
        page=prompt.text("page"),
        suffix=prompt.text("suffix"),
        query_case=cast(Literal["keep", "lower"], prompt.choice("query_case", ("keep", "lower"))),
        system=prompt.text("system", ""),
        instruction=prompt.text("instruction") if "instruction" in prompt else None,
        text=prompt.text("text") if "text" in prompt else None,
        scoring=scoring,
        most_tokens=prompt.whole("most_tokens", 1, _MOST_ID) if "most_tokens" in prompt else None,
    )
    if not any("{query}" in line for line in rules.lines):
        raise BundleError(f"{MANIFEST}: no line of prompt.lines holds {{query}}")
    if rules.page.count("{image}") != 1:
        raise BundleError(f"{MANIFEST}: prompt.page must hold {{image}} exactly once: {quoted(rules.page)}")
    if rules.text is not None and (rules.text.count("{text}") != 1 or not rules.pointwise):
        raise BundleError(f"{MANIFEST}: prompt.text must hold {{text}} exactly once, in a prompt scored by yes_no")
    if any("{instruction}" in line for line in rules.lines) != (rules.instruction is not None):
        raise BundleError(f"{MANIFEST}: prompt.instruction is the default of {{instruction}} in lines: both or neither")
    return rules


def parse_tokens(manifest: Fields) -> TokenIds:
    """Reads ``tokens``. Raises BundleError."""
    tokens = manifest.object("tokens")
    pointwise = parse_prompt(manifest).pointwise
    if pointwise:
        letters = [tokens.whole("yes", 0, _MOST_ID)]
    else:
        letters = tokens.wholes("letters", (1, _MOST_LETTERS), 0, _MOST_ID)
    if len(set(letters)) < len(letters):
        tokens.refuse("letters", "names a token twice: each letter needs one of its own")
    return TokenIds(
        letters=tuple(letters),
        image_pad=tokens.whole("image_pad", 0, _MOST_ID),
        vision_start=tokens.whole("vision_start", 0, _MOST_ID),
        vision_end=tokens.whole("vision_end", 0, _MOST_ID),
        video_pad=tokens.whole("video_pad", 0, _MOST_ID),
        no=tokens.whole("no", 0, _MOST_ID) if pointwise else None,
    )


def parse_defaults(manifest: Fields, letters: int) -> Defaults:
    """Reads ``defaults`` of a bundle with so many letters. Raises BundleError."""
    fields = manifest.object("defaults")
    defaults = Defaults(
        keep_ratio=fields.number("keep_ratio", 0, 1),
        window=fields.whole("window", 0, _MOST_ID),
        stride=fields.whole("stride", 0, _MOST_ID),
        prune_text=cast(
            Literal["all_before_image", "query_only"],
            fields.choice("prune_text", ("all_before_image", "query_only")),
        ),
        blank=cast(Blank, fields.choice("blank", ("drop", "keep"), "keep")),
        pointwise=parse_prompt(manifest).pointwise,
        relevance_ranks="relevance" in manifest and manifest.object("relevance").flag("ranks"),
    )
    if not (defaults.keep_ratio > 0 and 1 <= defaults.window <= letters and 1 <= defaults.stride <= defaults.window):
        raise BundleError(f"{MANIFEST}: defaults that no ranking can use with {letters} letters: {defaults}")
    return defaults


def parse_files(manifest: Fields) -> dict[str, BundleFile]:
    """Reads ``files``. Raises BundleError."""
    files = manifest.object("files")
    if len(files.values) > _MOST_FILES:
        raise BundleError(f"{MANIFEST}: files lists {len(files.values):,} files, at most {_MOST_FILES:,}")
    found = {}
    for name in files:
        if not is_plain_name(name):
            raise BundleError(
                f"{MANIFEST}: files[{quoted(name)}] leaves the bundle's folder, or is no plain name of a file in it"
            )
        entry = files.object(name)
        digest = entry.text("sha256", most=64).lower()
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            entry.refuse("sha256", "is not 64 hexadecimal digits")
        found[name] = BundleFile(size=entry.whole("size", 0, _MOST_SIZE), sha256=digest)
    for name in REQUIRED:
        if name not in found:
            raise BundleError(f"{MANIFEST}: files does not list {name}")
    return found
