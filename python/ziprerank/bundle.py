"""A bundle: its manifest, read and checked (docs/bundle.md), and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ziprerank.bundle_files import Identity, check_files, check_unchanged, read_checked
from ziprerank.errors import BundleError, quoted
from ziprerank.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    Blank,
    BundleFile,
    Defaults,
    ImageRules,
    PromptRules,
    TokenIds,
    check_manifest,
    parse_defaults,
    parse_files,
    parse_image,
    parse_prompt,
    parse_tokens,
    read_manifest_fields,
)
from ziprerank.strict_json import read_file

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "Blank",
    "Bundle",
    "BundleFile",
    "Check",
    "Defaults",
    "ImageRules",
    "PromptRules",
    "TokenIds",
    "default_bundle",
]

Check = Literal["full", "size", "none"]
_MOST_SMALL_FILE = 256 << 20  # bytes of the tokenizer, which is read whole


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest has been read. ``model``, ``source`` and ``parity`` are its own objects, for reports.

    Bundles of the same ``features_id`` make the same features of a page; None is a bundle whose export did not say.
    """

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
    features_id: str | None = None
    check: Check = field(default="none", compare=False)
    checked_in: Path | None = field(default=None, compare=False, repr=False)  # not ``path``: a copy for another folder
    checked: Mapping[str, Identity] = field(default_factory=dict, compare=False, repr=False)

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
                which for a 16 GB bundle takes milliseconds instead of many seconds; both look whether the graphs read
                files that the manifest does not list. ``"none"`` reads the manifest alone, for a client whose graphs
                run elsewhere.

        Raises:
            BundleError: The bundle is missing, damaged, or newer than this version reads.
        """
        if check not in ("full", "size", "none"):
            raise BundleError(f"check={quoted(check)}: must be 'full', 'size' or 'none'")
        folder = default_bundle() if path is None else Path(path)
        manifest = read_manifest_fields(folder)
        check_manifest(manifest)
        tokens, listed = parse_tokens(manifest), parse_files(manifest)
        return cls(
            path=folder,
            bundle_id=manifest.text("bundle_id", most=256),
            created_by=manifest.text("created_by", most=256),
            target=manifest.text("target", most=256),
            precision=manifest.choice("precision", ("fp32", "fp16", "bf16")),
            image=parse_image(manifest),
            prompt=parse_prompt(manifest),
            tokens=tokens,
            defaults=parse_defaults(manifest, len(tokens.letters)),
            files=listed,
            model=manifest.object("model").values,
            source=manifest.object("source").values,
            parity=manifest.object("parity").values if "parity" in manifest else None,
            features_id=manifest.text("features_id", "", most=256) or None,
            check=check,
            checked_in=folder,
            checked={} if check == "none" else check_files(folder, listed, digests=check == "full"),
        )

    def read(self, name: str) -> bytes:
        """Returns the bytes of a small file, compared with the manifest as ``check`` asks for. Raises BundleError."""
        try:
            content = read_file(self.path / name, BundleError, _MOST_SMALL_FILE)
        except FileNotFoundError:
            raise BundleError(f"{self.path} misses {name}: copy the whole bundle again") from None
        if self.check == "none" or self.checked_in != self.path:
            return content
        return read_checked(self.path, name, content, self.files[name], digests=self.check == "full")

    def check_unchanged(self) -> None:
        """Raises BundleError when a file is not the one any more that was checked; ``check="none"`` checked none."""
        if self.checked_in == self.path:
            check_unchanged(self.path, self.checked)


def default_bundle() -> Path:
    """Returns the folder of the bundle inside the package. Raises BundleError where the package has none."""
    folder = _in_package()
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"this installation carries no default bundle ({folder}): pass the path of a bundle")
    return folder


def _in_package() -> Path:
    return Path(str(files("ziprerank") / "bundles" / "default"))
