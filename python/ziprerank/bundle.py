"""Reads and checks a bundle's manifest (docs/bundle.md). Keys that this version does not know are ignored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from ziprerank.errors import BundleError
from ziprerank.runtime.threads import Workers

FORMAT_VERSION = 1
MANIFEST = "ziprerank.json"
REQUIRED = ("tokenizer.json", "vision.onnx", "rerank.onnx")

Check = Literal["full", "size", "none"]
Blank = Literal["drop", "keep"]
"""Whether visual tokens of blank paper are left out before the model or read like all others."""

_T = TypeVar("_T")


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
    """The prompt as data: prefix + the lines joined with newlines + one block per page + suffix."""

    prefix: str
    lines: tuple[str, ...]
    order_item: str
    order_separator: str
    page: str
    suffix: str
    query_case: Literal["keep", "lower"]


@dataclass(frozen=True, slots=True)
class TokenIds:
    letters: tuple[int, ...]
    image_pad: int
    vision_start: int
    vision_end: int
    video_pad: int


@dataclass(frozen=True, slots=True)
class Defaults:
    keep_ratio: float
    window: int
    stride: int
    prune_text: Literal["all_before_image", "query_only"]
    blank: Blank = "keep"


@dataclass(frozen=True, slots=True)
class BundleFile:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest has been read. ``model``, ``source`` and ``parity`` are its own objects, for reports."""

    path: Path
    bundle_id: str
    created_by: str
    target: str
    precision: str
    image: ImageRules
    prompt: PromptRules
    tokens: TokenIds
    defaults: Defaults
    files: Mapping[str, BundleFile]
    model: Mapping[str, Any]
    source: Mapping[str, Any]
    parity: Mapping[str, Any] | None

    @property
    def is_default(self) -> bool:
        """Whether this is the bundle in the package."""
        return self.path.resolve() == _in_package().resolve()

    @classmethod
    def load(cls, path: str | Path | None = None, *, check: Check = "full") -> Bundle:
        """Reads a bundle's manifest and checks its files.

        Args:
            path: The bundle's folder; None is the bundle inside the package.
            check: ``"full"`` compares every file's size and SHA-256 with the manifest; ``"size"`` skips the digests,
                which for a 16 GB bundle takes milliseconds instead of many seconds; ``"none"`` reads the manifest
                alone, for a client whose graphs run elsewhere.

        Raises:
            BundleError: The bundle is missing, damaged, or newer than this version reads.
        """
        if check not in ("full", "size", "none"):
            raise BundleError(f"check={check!r}: must be 'full', 'size' or 'none'")
        folder = default_bundle() if path is None else Path(path)
        bundle = _parse(folder, _read_manifest(folder))
        if check != "none":
            _check_files(bundle, digests=check == "full")
        return bundle


def default_bundle() -> Path:
    """Returns the folder of the bundle inside the package. Raises BundleError where the package has none."""
    folder = _in_package()
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"this installation carries no default bundle ({folder}): pass the path of a bundle")
    return folder


def _in_package() -> Path:
    return Path(str(files("ziprerank") / "bundles" / "default"))


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise BundleError(f"no bundle at {folder}: a bundle is a directory that holds {MANIFEST}")
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle, it holds no {MANIFEST}: run ziprerank export first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error}") from error
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"{folder / MANIFEST} is not valid JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{folder / MANIFEST} must hold a JSON object, not {type(manifest).__name__}")
    return manifest


def _parse(folder: Path, manifest: dict[str, Any]) -> Bundle:
    version = _field(manifest, "format_version", int)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {version}, this ziprerank reads up to {FORMAT_VERSION}: upgrade ziprerank"
        )
    image, prompt = _field(manifest, "image", dict), _field(manifest, "prompt", dict)
    tokens, defaults = _field(manifest, "tokens", dict), _field(manifest, "defaults", dict)
    listed = _field(manifest, "files", dict)
    bundle = Bundle(
        path=folder,
        bundle_id=_field(manifest, "bundle_id", str),
        created_by=_field(manifest, "created_by", str),
        target=_field(manifest, "target", str),
        precision=_choice(manifest, "precision", ("fp32", "fp16", "bf16")),
        image=ImageRules(
            patch_size=_field(image, "patch_size", int),
            merge_size=_field(image, "merge_size", int),
            min_pixels=_field(image, "min_pixels", int),
            max_pixels=_field(image, "max_pixels", int),
            longest_side=_field(image, "longest_side", int),
            dpi=None if image.get("dpi") is None else float(_field(image, "dpi", (int, float))),
        ),
        prompt=PromptRules(
            prefix=_field(prompt, "prefix", str),
            lines=tuple(_strings(prompt, "lines")),
            order_item=_field(prompt, "order_item", str),
            order_separator=_field(prompt, "order_separator", str),
            page=_field(prompt, "page", str),
            suffix=_field(prompt, "suffix", str),
            query_case=cast(Literal["keep", "lower"], _choice(prompt, "query_case", ("keep", "lower"))),
        ),
        tokens=TokenIds(
            letters=tuple(_integers(tokens, "letters")),
            image_pad=_field(tokens, "image_pad", int),
            vision_start=_field(tokens, "vision_start", int),
            vision_end=_field(tokens, "vision_end", int),
            video_pad=_field(tokens, "video_pad", int),
        ),
        defaults=Defaults(
            keep_ratio=float(_field(defaults, "keep_ratio", (int, float))),
            window=_field(defaults, "window", int),
            stride=_field(defaults, "stride", int),
            prune_text=cast(
                Literal["all_before_image", "query_only"],
                _choice(defaults, "prune_text", ("all_before_image", "query_only")),
            ),
            blank=cast(Blank, _choice(defaults, "blank", ("drop", "keep"))) if "blank" in defaults else "keep",
        ),
        files={name: _file_entry(name, entry) for name, entry in listed.items()},
        model=_field(manifest, "model", dict),
        source=_field(manifest, "source", dict),
        parity=manifest.get("parity"),
    )
    _check_values(bundle)
    return bundle


def _check_values(bundle: Bundle) -> None:
    for name in REQUIRED:
        if name not in bundle.files:
            raise BundleError(f"{MANIFEST}: files does not list {name}")
    if not bundle.tokens.letters:
        raise BundleError(f"{MANIFEST}: tokens.letters is empty")
    if not any("{query}" in line for line in bundle.prompt.lines):
        raise BundleError(f"{MANIFEST}: no line of prompt.lines holds {{query}}")
    if bundle.prompt.page.count("{image}") != 1:
        raise BundleError(f"{MANIFEST}: prompt.page must hold {{image}} exactly once: {bundle.prompt.page!r}")
    defaults, letters = bundle.defaults, len(bundle.tokens.letters)
    if not (0 < defaults.keep_ratio <= 1 and 1 <= defaults.window <= letters and defaults.stride >= 1):
        raise BundleError(f"{MANIFEST}: defaults that no ranking can use with {letters} letters: {defaults}")
    image = bundle.image
    smallest = min(image.patch_size, image.merge_size, math.inf if image.dpi is None else image.dpi)
    if smallest <= 0 or image.longest_side < image.factor:
        raise BundleError(f"{MANIFEST}: image rules that no page can meet: {image}")


def _check_files(bundle: Bundle, *, digests: bool) -> None:
    for name, expected in bundle.files.items():
        path = bundle.path / name
        if not path.is_file():
            raise BundleError(f"{bundle.path} misses {name}: copy the whole bundle again")
        size = path.stat().st_size
        if size != expected.size:
            raise BundleError(f"{path} has {size} bytes, its manifest says {expected.size}: copy the bundle again")
    if digests:
        with Workers(4, "ziprerank-digests") as workers:
            jobs = [workers.submit(partial(_sha256, bundle.path / name)) for name in bundle.files]
            found = [workers.result(job) for job in jobs]
        for (name, expected), digest in zip(bundle.files.items(), found, strict=True):
            if digest != expected.sha256:
                raise BundleError(
                    f"{bundle.path / name} was changed: SHA-256 {digest[:16]}..., its manifest says "
                    f"{expected.sha256[:16]}...: copy or export the bundle again"
                )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file_entry(name: str, entry: Any) -> BundleFile:
    if not isinstance(entry, dict):
        raise BundleError(f"{MANIFEST}: files[{name!r}] must be an object")
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts:
        raise BundleError(f"{MANIFEST}: files[{name!r}] leaves the bundle's folder")
    return BundleFile(size=_field(entry, "size", int), sha256=_field(entry, "sha256", str).lower())


def _field(table: Mapping[str, Any], key: str, kind: type[_T] | tuple[type[_T], ...]) -> _T:
    if key not in table:
        raise BundleError(f"{MANIFEST} misses {key!r}")
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BundleError(f"{MANIFEST}: {key!r} has the wrong type {type(value).__name__}")
    return value


def _choice(table: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = _field(table, key, str)
    if value not in allowed:
        raise BundleError(f"{MANIFEST}: {key} is {value!r}, this ziprerank knows {', '.join(allowed)}")
    return value


def _strings(table: Mapping[str, Any], key: str) -> list[str]:
    values = _field(table, key, list)
    if not all(isinstance(value, str) for value in values):
        raise BundleError(f"{MANIFEST}: {key!r} must hold strings")
    return values


def _integers(table: Mapping[str, Any], key: str) -> list[int]:
    values = _field(table, key, list)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise BundleError(f"{MANIFEST}: {key!r} must hold integers")
    return values
