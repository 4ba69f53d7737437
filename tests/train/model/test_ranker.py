"""The training pass against transformers' whole model with the pruned tokens masked out, and against `Reference`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tiny_checkpoint import save_tiny_checkpoint
from torch import Tensor
from torch.nn import functional as F
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.export.reference import Reference
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.run.loop import checkpoint_activations

QUERY = "Which REGION grew most?"
SIZES = ((96, 64), (64, 128), (128, 128))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_checkpoint(
        tmp_path_factory.mktemp("tiny"), layers=4
    )  # so that a layer reads every DeepStack level


def page(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


PAGES = [page(number, size) for number, size in enumerate(SIZES)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("keep_ratio", [1.0, 0.5, 0.2])
def test_logits_are_those_of_the_reference(keep_ratio: float, tied: bool, tmp_path: Path) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path / "model", tied=tied)
    ranker = Ranker(checkpoint)
    reference = Reference(checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=ranker.prompting.letters)
    encoded = [reference.encode(pixels) for pixels in PAGES]
    scored = ranker.score(QUERY, ranker.encode_all(PAGES), keep_ratio)
    expected = reference.score(scored.text_ids, encoded, keep_ratio)
    for ours, theirs in zip(scored.kept, expected.kept, strict=True):
        assert ours.tolist() == theirs.tolist()
    torch.testing.assert_close(scored.logits.detach(), torch.from_numpy(expected.logits[:3]), rtol=1e-4, atol=1e-4)


def masked_model(ranker: Ranker, kept: tuple[Tensor, ...], target: list[int]) -> tuple[Tensor, Tensor]:
    """The unpruned sequence through transformers' own forward; dropped tokens are hidden from every query.

    Returns the letters' logits [3] and the language loss.
    """
    model = ranker.module
    pages = ranker.encode_all(PAGES)
    pad = ranker.prompting.image_pad
    ids: list[int] = []
    dropped: list[bool] = []
    left = iter(zip(pages, kept, strict=True))
    for token in ranker.prompting.ids(QUERY, 3):
        if token != pad:
            ids.append(token)
            dropped.append(False)
            continue
        encoded, mine = next(left)
        ids.extend([pad] * len(encoded.tokens))
        dropped.extend(number not in set(mine.tolist()) for number in range(len(encoded.tokens)))
    prompt = len(ids)
    ids.extend(target)
    dropped.extend([False] * len(target))
    sequence = torch.tensor(ids)[None]
    visual = sequence[0] == pad
    positions, _ = model.model.get_rope_index(
        sequence,
        image_grid_thw=torch.tensor([[1, *each.grid] for each in pages]),
        mm_token_type_ids=visual.long()[None],
    )
    embeddings = model.get_input_embeddings()(sequence)
    embeddings = embeddings.masked_scatter(visual[None, :, None], torch.cat([each.tokens for each in pages]))
    count = len(ids)
    allowed = torch.ones(count, count).tril().bool() & ~torch.tensor(dropped)[None]
    allowed |= torch.eye(count).bool()  # a dropped token sees something, so that its unused row is finite
    mask = embeddings.new_zeros(count, count).masked_fill(~allowed, float("-inf"))[None, None]
    states = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask=mask,
        visual_pos_masks=visual[None],
        deepstack_visual_embeds=[torch.cat([each.deepstack[level] for each in pages]) for level in range(3)],
        use_cache=False,
    ).last_hidden_state[0]
    logits = model.lm_head(states)
    losses = [F.cross_entropy(logits[prompt - 1 + k], torch.tensor(token)) for k, token in enumerate(target)]
    return logits[prompt - 1, ranker.prompting.letters[:3]], torch.stack(losses).mean()


def gradients(ranker: Ranker) -> dict[str, Tensor]:
    taken = {name: value.grad.clone() for name, value in ranker.module.named_parameters() if value.grad is not None}
    ranker.module.zero_grad()
    return taken


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_masked_model(checkpoint: Path, checkpointing: bool) -> None:
    """Every parameter's, in float64 so that rounding does not hide a wrong term: decoder, embeddings, tower, merger."""
    torch.manual_seed(1)
    weights = torch.randn(3, dtype=torch.float64)
    ranker = Ranker(checkpoint, vision="trained", dtype=torch.float64)
    ranker.module.train()
    if checkpointing:
        checkpoint_activations(ranker.module)
    target = ranker.prompting.target([2, 0, 1])
    scored = ranker.score(QUERY, ranker.encode_all(PAGES), 0.4, target=target)
    assert [len(kept) for kept in scored.kept] == [2, 3, 6]
    ((scored.logits * weights).sum() + scored.language_loss).backward()
    ours = gradients(ranker)

    logits, language_loss = masked_model(ranker, scored.kept, target)
    torch.testing.assert_close(scored.logits, logits.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scored.language_loss, language_loss.float(), rtol=1e-5, atol=1e-5)
    ((logits * weights).sum() + language_loss).backward()
    theirs = gradients(ranker)
    assert ours.keys() == theirs.keys() == dict(ranker.module.named_parameters()).keys()
    for name, gradient in ours.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-5 * theirs[name].abs().max(), msg=name)


def test_only_kept_tokens_get_gradients(checkpoint: Path) -> None:
    ranker = Ranker(checkpoint)
    pages = [
        type(encoded)(encoded.tokens.detach().requires_grad_(), encoded.deepstack, encoded.grid)
        for encoded in ranker.encode_all(PAGES)
    ]
    scored = ranker.score(QUERY, pages, 0.5)
    scored.logits.square().sum().backward()
    for encoded, kept in zip(pages, scored.kept, strict=True):
        assert encoded.tokens.grad is not None
        touched = encoded.tokens.grad.abs().sum(1).nonzero().flatten()
        assert touched.tolist() == kept.tolist()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_saved_checkpoint_exports_and_scores_the_same(dtype: torch.dtype | None, tied: bool, tmp_path: Path) -> None:
    ranker = Ranker(save_tiny_checkpoint(tmp_path / "first", tied=tied))
    with torch.no_grad():
        for parameter in ranker.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    (tmp_path / "saved").mkdir()
    ranker.save(tmp_path / "saved", dtype=dtype)
    assert next(ranker.module.parameters()).dtype == torch.float32
    stored = json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"]
    assert stored == str(dtype or torch.float32).removeprefix("torch.")
    assert ("lm_head.weight" in load_file(tmp_path / "saved" / "model.safetensors")) == (not tied)
    if dtype is not None:
        ranker.module.to(dtype).to(torch.float32)
    bundle = export_checkpoint(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(precision="fp32"))
    host = Host(bundle)
    with torch.no_grad():
        scored = ranker.score(QUERY, ranker.encode_all(PAGES), 0.5)
    expected = host.score(scored.text_ids, [host.encode(pixels) for pixels in PAGES], 0.5)
    np.testing.assert_allclose(scored.logits.numpy(), expected.logits[:3], rtol=1e-3, atol=1e-3)


def test_the_loaded_checkpoint_is_not_written_over(checkpoint: Path) -> None:
    before = (checkpoint / "model.safetensors").read_bytes()
    with pytest.raises(TrainError, match="is the checkpoint that was loaded"):
        Ranker(checkpoint).save(checkpoint)
    assert (checkpoint / "model.safetensors").read_bytes() == before


def test_vision_modes(checkpoint: Path) -> None:
    def trained(vision: Any) -> set[str]:
        names = [
            name for name, value in Ranker(checkpoint, vision=vision).module.named_parameters() if value.requires_grad
        ]
        return {name.split(".")[2] for name in names if name.startswith("model.visual.")}

    assert trained("frozen") == set()
    assert trained("merger") == {"merger", "deepstack_merger_list"}
    assert trained("trained") == {"merger", "deepstack_merger_list", "blocks", "patch_embed", "pos_embed"}


def test_autocast_does_not_change_what_is_kept(checkpoint: Path) -> None:
    """The comparison runs in float32: under autocast, matrix products would be bfloat16."""
    ranker = Ranker(checkpoint)
    pages = ranker.encode_all([page(number, (256, 256)) for number in range(2)])
    plain = ranker.score(QUERY, pages, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = ranker.score(QUERY, pages, 0.3)
    assert [kept.tolist() for kept in plain.kept] == [kept.tolist() for kept in autocast.kept]


def test_targets_and_prompts(checkpoint: Path) -> None:
    from tokenizers import Tokenizer

    prompting = Ranker(checkpoint).prompting
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    target = prompting.target([1, 0, 4])
    assert target[0] == prompting.letters[1]
    said = tokenizer.decode(target, skip_special_tokens=False)
    assert said.replace(" ", "") == "B]>[A]>[E]<|im_end|>"  # whether spaces are tokens depends on the vocabulary
    text = tokenizer.decode(prompting.ids(QUERY, 2), skip_special_tokens=False).replace(" ", "")
    assert "whichregiongrewmost?" in text
    assert text.count("<|image_pad|>") == 2
    for order in ([], [0, 0], [20]):
        with pytest.raises(TrainError, match="the order is"):
            prompting.target(order)
    with pytest.raises(TrainError, match="21 pages"):
        prompting.ids(QUERY, 21)
    with pytest.raises(TrainError, match="special token"):
        prompting.ids("what is <|image_pad|>?", 2)


def test_wrong_arguments_are_refused(checkpoint: Path) -> None:
    ranker = Ranker(checkpoint)
    with pytest.raises(TrainError, match="multiples of 32"):
        ranker.encode(page(0, (64, 80)))
    with pytest.raises(TrainError, match=r"float32 \[64, 64, 3\]"):
        ranker.encode(torch.zeros(64, 64, 3))
    with pytest.raises(TrainError, match="keep_ratio is 0"):
        ranker.score(QUERY, ranker.encode_all(PAGES), 0.0)
    with pytest.raises(TrainError, match="vision is 'no'"):
        Ranker(checkpoint, vision="no")  # type: ignore[arg-type]
