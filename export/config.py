"""The configuration of a Qwen3-VL checkpoint (``config.json``), as far as the graphs need it, checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

from ziprerank.errors import QUOTED, quoted
from ziprerank.strict_json import Fields

from .errors import CheckpointError

ARCHITECTURE = "Qwen3VLForConditionalGeneration"
EMBEDDINGS = "model.language_model.embed_tokens.weight"
HEAD = "lm_head.weight"

# Far above every model there is, and far below what a product of them could overflow.
_MOST_LAYERS = 1024
_MOST_SIZE = 1 << 20
_MOST_THETA = 1e30
_MOST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Shape of the vision tower.

    Attributes:
        position_side: Side of the square table of learned positions.
        deepstack: Layers after which DeepStack features are taken, ascending.
    """

    depth: int
    hidden_size: int
    heads: int
    intermediate_size: int
    position_side: int
    deepstack: tuple[int, ...]
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    rope_theta: float

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads

    @property
    def patch_values(self) -> int:
        """Number of values of one raw RGB patch, the last dimension of the graph's input."""
        return 3 * self.patch_size**2


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of the language model.

    Attributes:
        rope_sections: Rotary frequencies of time, row and column, interleaved.
        tied: Whether the output head is the embedding table, in a checkpoint that stores no head of its own.
    """

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    norm_eps: float
    rope_theta: float
    rope_sections: tuple[int, int, int]
    tied: bool


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything of ``config.json`` that the export uses."""

    vision: VisionConfig
    decoder: DecoderConfig
    image_pad_id: int
    video_pad_id: int
    vision_start_id: int
    vision_end_id: int

    @property
    def levels(self) -> int:
        """Number of feature vectors of a visual token: its embedding and one for each DeepStack layer."""
        return 1 + len(self.vision.deepstack)

    @staticmethod
    def parse(config: Fields) -> ModelConfig:
        """Reads the content of ``config.json``.

        Raises:
            CheckpointError: The architecture is another, a value is missing or out of range, or the graphs do not
                implement a setting.
        """
        architectures = config.texts("architectures", []) or [config.text("model_type", "none named")]
        if ARCHITECTURE not in architectures:
            names = ", ".join(architectures)[:QUOTED]
            raise CheckpointError(f"architecture {names} is not supported: the export reads {ARCHITECTURE}")
        text = config.object("text_config")
        decoder = _decoder(text, tied=config.flag("tie_word_embeddings", default=False))
        return ModelConfig(
            vision=_vision(config.object("vision_config"), decoder.hidden_size),
            decoder=decoder,
            image_pad_id=config.whole("image_token_id", 0, _MOST_ID),
            video_pad_id=config.whole("video_token_id", 0, _MOST_ID),
            vision_start_id=config.whole("vision_start_token_id", 0, _MOST_ID),
            vision_end_id=config.whole("vision_end_token_id", 0, _MOST_ID),
        )


def _vision(config: Fields, decoder_hidden: int) -> VisionConfig:
    _expect(config, "hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    _expect(config, "in_channels", 3, default=3)
    _expect(config, "out_hidden_size", decoder_hidden)
    rope = config.object("rope_parameters", {"rope_type": "axial", "rope_theta": 10000.0})
    _expect(rope, "rope_type", "axial", default="axial")
    positions = config.whole("num_position_embeddings", 1, _MOST_SIZE)
    if isqrt(positions) ** 2 != positions:
        config.refuse("num_position_embeddings", f"is {positions}: it must be the square of the table's side")
    depth = config.whole("depth", 1, _MOST_LAYERS)
    deepstack = tuple(config.wholes("deepstack_visual_indexes", (0, _MOST_LAYERS), 0, depth - 1))
    if list(deepstack) != sorted(set(deepstack)):
        config.refuse("deepstack_visual_indexes", "must be distinct and ascending")
    return VisionConfig(
        depth=depth,
        hidden_size=config.whole("hidden_size", 1, _MOST_SIZE),
        heads=_divisor(config, "num_heads", "hidden_size"),
        intermediate_size=config.whole("intermediate_size", 1, _MOST_SIZE),
        position_side=isqrt(positions),
        deepstack=deepstack,
        patch_size=config.whole("patch_size", 1, 1024),
        merge_size=config.whole("spatial_merge_size", 1, 64),
        temporal_patch_size=config.whole("temporal_patch_size", 1, 64),
        rope_theta=rope.number("rope_theta", 1, _MOST_THETA),
    )


def _decoder(config: Fields, *, tied: bool) -> DecoderConfig:
    _expect(config, "hidden_act", "silu", default="silu")
    _expect(config, "attention_bias", False, default=False)
    # transformers 4 wrote `rope_scaling` and a top-level `rope_theta`, transformers 5 writes `rope_parameters`
    rope = config.object("rope_parameters" if "rope_parameters" in config else "rope_scaling", {})
    _expect(rope, "rope_type", "default", default="default")
    _expect(rope, "mrope_interleaved", True, default=True)
    hidden = config.whole("hidden_size", 1, _MOST_SIZE)
    heads = config.whole("num_attention_heads", 1, _MOST_SIZE)
    head_dim = config.whole("head_dim", 0, _MOST_SIZE, 0) or hidden // heads
    rope_sections = rope.wholes("mrope_section", (3, 3), 0, _MOST_SIZE, [24, 20, 20])
    if sum(rope_sections) * 2 != head_dim:
        rope.refuse(
            "mrope_section",
            f"{rope_sections} covers {sum(rope_sections)} frequencies: head_dim {head_dim} has {head_dim // 2}",
        )
    return DecoderConfig(
        layers=config.whole("num_hidden_layers", 1, _MOST_LAYERS),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_divisor(config, "num_key_value_heads", "num_attention_heads"),
        head_dim=head_dim,
        intermediate_size=config.whole("intermediate_size", 1, _MOST_SIZE),
        vocab_size=config.whole("vocab_size", 1, 1 << 24),
        norm_eps=config.number("rms_norm_eps", 0, 1),
        rope_theta=(rope if "rope_theta" in rope else config).number("rope_theta", 1, _MOST_THETA),
        rope_sections=(rope_sections[0], rope_sections[1], rope_sections[2]),
        tied=tied,
    )


def _divisor(config: Fields, key: str, of: str) -> int:
    number, whole = config.whole(key, 1, _MOST_SIZE), config.whole(of, 1, _MOST_SIZE)
    if whole % number:
        config.refuse(key, f"is {number}, by which {of}, {whole}, cannot be divided")
    return number


def _expect(config: Fields, key: str, expected: Any, default: Any = None) -> None:
    value = config.values.get(key, default)
    if value != expected or isinstance(value, bool) != isinstance(expected, bool):
        raise CheckpointError(f"{key} is {quoted(value)} in config.json: the graphs implement {expected!r} only")
