"""Operations counted from shapes equal PyTorch's own count over transformers' modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLForConditionalGeneration
from ziprerank.bundle import Bundle
from ziprerank.comparison import limits
from ziprerank.export import export_checkpoint


# the second has DeepStack, and several heads
@pytest.fixture(scope="module", params=["default_checkpoint", "deepstack_checkpoint"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(export_checkpoint(str(checkpoint), tmp_path_factory.mktemp("exported") / "bundle"))


@torch.inference_mode()
def test_the_vision_towers_operations(model: Qwen3VLForConditionalGeneration, bundle: Bundle) -> None:
    rows, cols = 18, 12
    with FlopCounterMode(display=False) as counter:
        model.model.visual(torch.zeros(rows * cols, 3 * 2 * 16 * 16), grid_thw=torch.tensor([[1, rows, cols]]))
    width = model.config.vision_config.hidden_size
    second_frame = 2 * rows * cols * 3 * 16 * 16 * width  # a still image repeats its frame, a bundle sums over it
    counted = limits.vision(bundle, rows * cols).operations
    assert counted == pytest.approx(counter.get_total_flops() - second_frame, rel=1e-6)


@torch.inference_mode()
def test_the_decoders_operations(model: Qwen3VLForConditionalGeneration, bundle: Bundle) -> None:
    length, shape = 300, model.config.text_config
    with FlopCounterMode(display=False) as counter:
        model.model.language_model(inputs_embeds=torch.zeros(1, length, shape.hidden_size), use_cache=False)
    hidden, wide = shape.hidden_size, shape.num_attention_heads * shape.head_dim
    position = 2 * (2 * hidden * wide + 3 * hidden * shape.intermediate_size)
    full_attention = 4 * length**2 * wide
    expected = (
        counter.get_total_flops()
        - (shape.num_hidden_layers - 1) * full_attention // 2  # causal
        - full_attention + 4 * length * wide  # the last layer: one position
        - (length - 1) * position
        + 2 * 20 * hidden  # the letters' logits
    )  # fmt: skip
    counted = limits.decoder(bundle, 20, length - 20).operations
    assert counted == pytest.approx(expected, rel=1e-6)
