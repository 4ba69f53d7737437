"""The configuration of a Qwen3-VL checkpoint (``config.json``), as far as the graphs need it, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from .errors import CheckpointError

ARCHITECTURE = "Qwen3VLForConditionalGeneration"
EMBEDDINGS = "model.language_model.embed_tokens.weight"


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
        tied: Whether the output head is the embedding table.
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

    @property
    def head_name(self) -> str:
        """Name of the tensor whose rows are the output head's."""
        return EMBEDDINGS if self.decoder.tied else "lm_head.weight"

    @staticmethod
    def parse(config: Mapping[str, Any]) -> ModelConfig:
        """Reads the content of ``config.json``.

        Raises:
            CheckpointError: The architecture is another, a key is missing, or the graphs do not implement a setting.
        """
        architectures = config.get("architectures") or [config.get("model_type", "none named")]
        if ARCHITECTURE not in architectures:
            raise CheckpointError(
                f"architecture {', '.join(map(str, architectures))} is not supported: the export reads {ARCHITECTURE}"
            )
        try:
            return ModelConfig(
                vision=_vision(config["vision_config"], config["text_config"]["hidden_size"]),
                decoder=_decoder(config["text_config"], bool(config.get("tie_word_embeddings", False))),
                image_pad_id=int(config["image_token_id"]),
                video_pad_id=int(config["video_token_id"]),
                vision_start_id=int(config["vision_start_token_id"]),
                vision_end_id=int(config["vision_end_token_id"]),
            )
        except KeyError as error:
            raise CheckpointError(f"config.json has no {error.args[0]!r}") from error


def _vision(config: Mapping[str, Any], decoder_hidden: int) -> VisionConfig:
    _expect(config, "hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    _expect(config, "in_channels", 3, default=3)
    _expect(config, "out_hidden_size", decoder_hidden)
    rope = config.get("rope_parameters") or {"rope_type": "axial", "rope_theta": 10000.0}
    _expect(rope, "rope_type", "axial", default="axial")
    positions = int(config["num_position_embeddings"])
    if isqrt(positions) ** 2 != positions:
        raise CheckpointError(f"num_position_embeddings is {positions}: it must be the square of the table's side")
    vision = VisionConfig(
        depth=int(config["depth"]),
        hidden_size=int(config["hidden_size"]),
        heads=int(config["num_heads"]),
        intermediate_size=int(config["intermediate_size"]),
        position_side=isqrt(positions),
        deepstack=tuple(int(layer) for layer in config["deepstack_visual_indexes"]),
        patch_size=int(config["patch_size"]),
        merge_size=int(config["spatial_merge_size"]),
        temporal_patch_size=int(config["temporal_patch_size"]),
        rope_theta=float(rope["rope_theta"]),
    )
    if list(vision.deepstack) != sorted(set(vision.deepstack)) or any(
        not 0 <= layer < vision.depth for layer in vision.deepstack
    ):
        raise CheckpointError(
            f"deepstack_visual_indexes {list(vision.deepstack)} must be distinct, ascending and below the depth, "
            f"{vision.depth}"
        )
    return vision


def _decoder(config: Mapping[str, Any], tied: bool) -> DecoderConfig:
    _expect(config, "hidden_act", "silu", default="silu")
    _expect(config, "attention_bias", False, default=False)
    # transformers 4 wrote `rope_scaling` and a top-level `rope_theta`, transformers 5 writes `rope_parameters`
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    _expect(rope, "rope_type", "default", default="default")
    _expect(rope, "mrope_interleaved", True, default=True)
    heads = int(config["num_attention_heads"])
    decoder = DecoderConfig(
        layers=int(config["num_hidden_layers"]),
        hidden_size=int(config["hidden_size"]),
        heads=heads,
        kv_heads=int(config["num_key_value_heads"]),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        intermediate_size=int(config["intermediate_size"]),
        vocab_size=int(config["vocab_size"]),
        norm_eps=float(config["rms_norm_eps"]),
        rope_theta=float(rope["rope_theta"] if "rope_theta" in rope else config["rope_theta"]),
        rope_sections=_sections(rope.get("mrope_section", (24, 20, 20))),
        tied=tied,
    )
    if sum(decoder.rope_sections) * 2 != decoder.head_dim:
        raise CheckpointError(
            f"mrope_section {list(decoder.rope_sections)} covers {sum(decoder.rope_sections)} frequencies: "
            f"head_dim {decoder.head_dim} has {decoder.head_dim // 2}"
        )
    return decoder


def _sections(values: Any) -> tuple[int, int, int]:
    sections = tuple(int(value) for value in values)
    if len(sections) != 3:
        raise CheckpointError(f"mrope_section {list(sections)} must have 3 entries: time, row, column")
    return sections


def _expect(config: Mapping[str, Any], key: str, expected: Any, default: Any = None) -> None:
    value = config.get(key, default)
    if value != expected:
        raise CheckpointError(f"{key} is {value!r} in config.json: the graphs implement {expected!r} only")
