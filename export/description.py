"""What a bundle says about itself: its id, the metadata of its graphs, and its manifest (docs/bundle.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ziprerank.strict_json import Fields

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .files import checksums
from .options import Defaults
from .pack import as_stored
from .precision import Precision
from .processor import MOST_PIXELS, Processor
from .prompt import Answers
from .prompt_file import PromptFile

FORMAT_VERSION = 2
NEW_IN_2 = {"system", "instruction", "scoring"}
"""Keys of a prompt that readers of format 1 do not know."""
_RECOMMENDED = ("keep_ratio", "window", "stride", "prune_text", "blank")


@dataclass(frozen=True, slots=True)
class Identity:
    """The digests by which a bundle and its page features are known, each 64 hex digits.

    Attributes:
        bundle: SHA-256 over configuration, weights, graphs, target and precision.
        features: SHA-256 over what the vision tower computes, with the values of its weights: bundles that share it
            make the same features of the same pixels.
    """

    bundle: str
    features: str


@dataclass(frozen=True, slots=True)
class Description:
    """Everything about a bundle that is known before its files are written.

    Attributes:
        source: The checkpoint.
        target: ``cpu`` or ``cuda``.
        defaults: What the bundle recommends.
        prompt: The manifest's ``prompt``.
        prompt_file: Where the prompt is from.
        answers: The tokens whose logits are the scores.
        image: The manifest's ``image``.
    """

    source: Checkpoint
    target: str
    defaults: Defaults
    prompt: Mapping[str, Any]
    prompt_file: PromptFile
    answers: Answers
    image: Mapping[str, Any]

    @property
    def format_version(self) -> int:
        """The oldest format that says all of it: 2 where older readers would leave a part of the prompt out."""
        return FORMAT_VERSION if NEW_IN_2 & set(self.prompt) else 1

    def bundle_id(
        self,
        precision: Precision,
        ranges: Mapping[str, float],
        stored: Mapping[str, str],
        graphs: Mapping[str, str],
    ) -> str:
        """Computes the ``bundle_id``: 64 hex digits, SHA-256 over configuration, weights, graphs, target and precision.

        Args:
            precision: The precision of the graphs.
            ranges: The ranges of activations that fp8 was calibrated to; empty for every other precision.
            stored: SHA-256 of the weights and the tokenizer, by file name.
            graphs: Digests of the graphs, by file name.
        """
        content = {
            "format_version": self.format_version,
            "target": self.target,
            "precision": precision.compute,
            "config": self.source.config_json,
            "prompt": self.prompt,
            "image": self.image,
            "files": stored,
            "graphs": graphs,
            **({"quantisation": {**precision.describe(), "ranges": ranges}} if precision.packed else {}),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def metadata(self, ids: Identity, precision: Precision) -> dict[str, str]:
        """Returns the metadata of all graphs."""
        config = self.source.config
        values: dict[str, Any] = {
            "format_version": self.format_version,
            "bundle_id": ids.bundle,
            "precision": precision.compute,
            "hidden_size": config.decoder.hidden_size,
            "levels": config.levels,
            "patch_size": config.vision.patch_size,
            "merge_size": config.vision.merge_size,
            "vocab_size": config.decoder.vocab_size,
            "letter_ids": ",".join(map(str, self.answers.letters or [self.answers.yes])),
            "image_pad_id": config.image_pad_id,
            "vision_start_id": config.vision_start_id,
            "vision_end_id": config.vision_end_id,
            "video_pad_id": config.video_pad_id,
            "keep_ratio": self.defaults.keep_ratio,
            "window": self.defaults.window,
            "stride": self.defaults.stride,
            "blank": self.defaults.blank,
        }
        if "scoring" in self.prompt:
            values["scoring"] = self.prompt["scoring"]
        if precision.packed:
            values |= {"weights": precision.name, "as_stored": ",".join(as_stored(self.source, self.answers.letters))}
        return {f"ziprerank.{key}": str(value) for key, value in values.items()}

    def manifest(self, ids: Identity, precision: Precision, folder: Path, stored: Mapping[str, str]) -> dict[str, Any]:
        """Returns the manifest of the bundle whose files are in ``folder``; files in ``stored`` are not read again."""
        source = self.source
        return {
            "format_version": self.format_version,
            "bundle_id": ids.bundle,
            "features_id": ids.features,
            "created_by": f"ziprerank {_own_version()}",
            "source": {
                "name": source.name,
                "revision": source.revision,
                "architecture": source.config_json["architectures"][0],
                "prompt": str(self.prompt_file),
            },
            "target": self.target,
            "precision": precision.compute,
            **(
                {"quantisation": {**precision.describe(), "as_stored": as_stored(source, self.answers.letters)}}
                if precision.packed
                else {}
            ),
            "model": _model(source),
            "tokens": {
                **self.answers.manifest(),
                "image_pad": source.config.image_pad_id,
                "vision_start": source.config.vision_start_id,
                "vision_end": source.config.vision_end_id,
                "video_pad": source.config.video_pad_id,
            },
            "image": self.image,
            "prompt": self.prompt,
            "defaults": {key: getattr(self.defaults, key) for key in _RECOMMENDED},
            "files": {
                name: {"size": (folder / name).stat().st_size, "sha256": checksum}
                for name, checksum in checksums(folder, known=stored).items()
            },
            "parity": None,
        }


def image_rules(source: Checkpoint, prompt: Fields, defaults: Defaults) -> dict[str, Any]:
    """Returns the manifest's ``image``, from ``preprocessor_config.json``, the prompt's file and the bundle's defaults.

    Raises:
        CheckpointError: ``preprocessor_config.json`` is not what it must be, or contradicts ``config.json``, or the
            limits of the prompt's file are out of range.
    """
    processor, config = source.processor, source.config.vision
    if (processor.patch_size, processor.merge_size) != (config.patch_size, config.merge_size):
        raise CheckpointError(
            f"preprocessor_config.json has patch {processor.patch_size} and merge {processor.merge_size}, "
            f"config.json {config.patch_size} and {config.merge_size}"
        )
    return {
        "patch_size": processor.patch_size,
        "merge_size": processor.merge_size,
        **_areas(prompt, processor),
        "longest_side": defaults.longest_side,
        "dpi": defaults.dpi,
        "mean": list(processor.mean),
        "std": list(processor.std),
    }


def _areas(prompt: Fields, processor: Processor) -> dict[str, Any]:
    """Returns the smallest and largest area of a page: the prompt's, where its model was used with other ones."""
    if "min_pixels" not in prompt and "max_pixels" not in prompt:
        return {"min_pixels": processor.min_pixels, "max_pixels": processor.max_pixels}
    least = prompt.whole("min_pixels", 1, MOST_PIXELS)
    most = prompt.whole("max_pixels", max(least, (processor.patch_size * processor.merge_size) ** 2), MOST_PIXELS)
    return {"min_pixels": least, "max_pixels": most, "origin": prompt.text("image_origin", "the prompt's file")}


def _model(source: Checkpoint) -> dict[str, Any]:
    """Returns the manifest's ``model``."""
    vision, decoder = source.config.vision, source.config.decoder
    return {
        "hidden_size": decoder.hidden_size,
        "levels": source.config.levels,
        "vocab_size": decoder.vocab_size,
        "decoder": {
            "layers": decoder.layers,
            "heads": decoder.heads,
            "kv_heads": decoder.kv_heads,
            "head_dim": decoder.head_dim,
            "intermediate_size": decoder.intermediate_size,
        },
        "vision": {
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "heads": vision.heads,
            "intermediate_size": vision.intermediate_size,
            "deepstack": list(vision.deepstack),
        },
        "parameters": source.parameters,
    }


def _own_version() -> str:
    try:
        return version("ziprerank")
    except PackageNotFoundError:
        return "from source"
