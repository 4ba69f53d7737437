"""MaxSim (ColBERT, arXiv 2004.12832) written down as four Qwen3-VL layers: a decoder that ranks before it is trained.

The prompt repeats the query after every page, between the page's letter and ``<|im_end|>``; then one head in each layer
is enough:

0. every token copies the code of the nearest letter: now it knows its page;
1. each token of a repeated query looks for the most similar visual token of its own page, or gives up and looks at the
   prompt's first token: how far it does is the match it lacks;
2. ``<|im_end|>`` averages this over its page's query, rare tokens first;
3. the prompt's last token attends to the ``<|im_end|>`` that lack least, and copies their letters' codes.

The residual stream is `CONTENT` directions of text, most telling first (the tower's last layer and the table are turned
into that basis), and the few coordinates below. The multilayer perceptrons add nothing yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from ziprerank.export.prompt import LETTERS

WIDTH = 256
PAIRS = WIDTH // 2  # of rotary coordinates: (i, i + PAIRS)
CONTENT = 228
CODE = slice(CONTENT, CONTENT + len(LETTERS))
TEXT, VISUAL, LETTER, RARE, END, FIRST, LACK, LAST = range(CODE.stop, WIDTH)
"""Coordinates that mark tokens of text, visual tokens, letters, rare tokens, ``<|im_end|>``, the prompt's first token,
how much of a match is lacking, and the prompt's last token."""

LAYERS = 4
THETA = 1e15  # turns only the first pairs within a page: frequency i is THETA ** (-i / PAIRS)
SECTIONS = (44, 42, 42)

# Weights of cosines whose sum tells the nearest letter, by linear programming: of all that sum to 1, those whose value
# at the own letter is farthest above that at any other, over pages of 1 to 64 rows, queries of 1 to 48 tokens and 20
# pages. For tokens of text the own letter is at most a query away, margin 0.189; visual tokens have it at distance 2,
# margin 0.327. Time alone places a visual token, so those pairs are its own.
_NEAR_TEXT = {4: 0.023, 5: 0.045, 7: 0.053, 8: 0.067, 10: 0.06, 11: 0.086, 13: 0.101, 14: 0.116, 16: 0.126, 17: 0.053}
_NEAR_TEXT |= {19: 0.028, 20: 0.122, 23: 0.119}
_NEAR_VISUAL = {3: 0.394, 6: 0.115, 9: 0.133, 12: 0.083, 15: 0.082, 18: 0.077, 21: 0.116}
_LETTER_DISTANCE = 2  # letter, <|vision_start|>, visual tokens

_SLOW = 18  # pairs from here on turn by less than half a radian within a page
_CODE_PAIRS = range(PAIRS - 10, PAIRS)
_OTHERS, _CONST, _FIRST = PAIRS - 12, 2 * PAIRS - 12, PAIRS - 11  # coordinates of a head
_COMPARED = [place for i in range(_SLOW, PAIRS - 12) for place in (i, i + PAIRS)]  # of CONTENT, the first 196
_CODES = [place for i in _CODE_PAIRS for place in (i, i + PAIRS)]

_NORM = 8.0  # of tokens of text
_TEXT_MARK, _VISUAL_MARK, _LETTER_MARK = 3.0, 2.0, 4.0
_CODE_NORM = 2.0  # of a token's code, once it is copied
_MOST_LACK = 4.0

_NEAR = 40.0  # attention logits: of a letter at no distance
_GATE = 110.0  # against tokens of other pages
_SIMILAR = 40.0  # of cosine 1
_GIVE_UP = 0.25  # a cosine that loses against giving up
_RARELY = 3.5
_PREFER = 12.0  # between a page that lacks nothing and one that lacks all


def layers(intermediate: int) -> dict[str, Tensor]:
    """The decoder's parameters under transformers' names, for perceptrons of that width."""
    state: dict[str, Tensor] = {}
    for number, layer in enumerate((_copy_letter(), _find_match(), _average(), _read_out())):
        state |= layer.tensors(f"model.language_model.layers.{number}.", intermediate)
    return state | {"model.language_model.norm.weight": torch.full((WIDTH,), 0.06)}


def comparison() -> dict[str, Tensor]:
    """What a constructed decoder should be trained in, and nothing else: a bool mask for each of these parameters.

    How similar a token and a cell are, when a token gives up, how much a token counts, and the scale of the logits. A
    step that moves all parameters alike moves the gates that tell pages apart far more than the rest, and lost in 20
    steps of AdamW at 3e-5 (1e-4 for the perceptrons) half of the queries that the constructed decoder had right.
    """
    masks = {}

    def learn(name: str, rows: int | list[int] | slice, cols: slice | None = None) -> None:
        masks[name] = torch.zeros((WIDTH,) if cols is None else (WIDTH, WIDTH), dtype=torch.bool)
        masks[name][rows if cols is None else (rows, cols)] = True

    content = slice(0, CONTENT)
    learn("layers.1.self_attn.q_proj.weight", [*_COMPARED, _FIRST], content)
    learn("layers.1.self_attn.k_proj.weight", _COMPARED, content)
    learn("layers.2.self_attn.k_proj.weight", _FIRST, content)
    learn("norm.weight", CODE)
    return masks


class _Layer:
    """One head, from what the coordinates of normalised tokens say to queries, keys, values and output."""

    def __init__(self, sharpness: float) -> None:
        self.query, self.key, self.value, self.output = (torch.zeros(WIDTH, WIDTH) for _ in range(4))
        self._sharpness = sharpness

    def others(self, *marks: int) -> None:
        """Keys of tokens with these marks point where the layer's queries do not."""
        for mark in marks:
            self.key[_OTHERS, mark] = 1

    def same_code(self, weight: float, mark: int, mark_value: float, own: int, own_value: float) -> None:
        """``weight`` against keys whose code is not the query's: codes that agree cancel a constant.

        Queries have ``mark`` with ``mark_value``; keys that may be attended to have ``own`` with ``own_value``.
        """
        for number, place in enumerate(_CODES):
            self.query[place, CODE.start + number] = weight / _CODE_NORM
            self.key[place, CODE.start + number] = 1
        self.query[_CONST, mark] = -weight / mark_value
        self.key[_CONST, own] = _CODE_NORM / own_value

    def tensors(self, prefix: str, intermediate: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed(int(self._sharpness))
        norm = torch.full((WIDTH,), math.sqrt(self._sharpness / math.sqrt(WIDTH)))
        return {
            f"{prefix}self_attn.q_proj.weight": self.query,
            f"{prefix}self_attn.k_proj.weight": self.key,
            f"{prefix}self_attn.v_proj.weight": self.value,
            f"{prefix}self_attn.o_proj.weight": self.output,
            f"{prefix}self_attn.q_norm.weight": norm,
            f"{prefix}self_attn.k_norm.weight": norm.clone(),
            f"{prefix}input_layernorm.weight": torch.ones(WIDTH),
            f"{prefix}post_attention_layernorm.weight": torch.ones(WIDTH),
            f"{prefix}mlp.gate_proj.weight": torch.randn(intermediate, WIDTH, generator=generator) / math.sqrt(WIDTH),
            f"{prefix}mlp.up_proj.weight": torch.randn(intermediate, WIDTH, generator=generator) / math.sqrt(WIDTH),
            f"{prefix}mlp.down_proj.weight": torch.zeros(WIDTH, intermediate),
        }


def _copy_letter() -> _Layer:
    # keys spend half of their length on each of the two sums of cosines
    layer = _Layer(math.sqrt(2) * _NEAR)
    for weights, marks, distance in (
        (_NEAR_TEXT, (TEXT, END, FIRST, LETTER), 0),
        (_NEAR_VISUAL, (VISUAL,), _LETTER_DISTANCE),
    ):
        for pair, weight in weights.items():
            size, angle = math.sqrt(weight), distance * THETA ** (-pair / PAIRS)
            layer.key[pair, LETTER] = size
            for mark in marks:
                layer.query[pair, mark] = size * math.cos(angle)
                layer.query[pair + PAIRS, mark] = -size * math.sin(angle)
    layer.others(TEXT, END, LAST, FIRST, VISUAL)
    layer.query[_OTHERS, LAST] = 1  # it belongs to no page
    letter = _normalised(_NORM, _NORM, _LETTER_MARK)
    for number in range(len(LETTERS)):
        layer.value[number, CODE.start + number] = 1
        layer.output[CODE.start + number, number] = _CODE_NORM / letter
    return layer


def _find_match() -> _Layer:
    others = 40.0
    layer = _Layer(math.sqrt(_SIMILAR**2 + 2 * _GATE**2 + (_SIMILAR * _GIVE_UP) ** 2 + others**2))
    for number, place in enumerate(_COMPARED):
        layer.query[place, number] = _SIMILAR / _NORM
        layer.key[place, number] = 1
    layer.same_code(_GATE, TEXT, _TEXT_MARK, VISUAL, _VISUAL_MARK)
    layer.query[_FIRST, TEXT] = _SIMILAR * _GIVE_UP / _TEXT_MARK
    layer.key[_FIRST, FIRST] = 1
    layer.query[_OTHERS, TEXT] = -others / _TEXT_MARK
    layer.others(TEXT, END, LAST, LETTER)
    # their code, and for tokens of text their own content, are those of the query: more than a match is worth
    layer.key[_CONST, TEXT], layer.key[_CONST, LETTER], layer.key[_CONST, END] = 4, 5, 1
    layer.query *= _NORM / _SIMILAR  # their length does not count: queries and keys then learn at one rate
    layer.value[0, FIRST] = 1 / _normalised(_NORM, _NORM)
    layer.output[LACK, 0] = -_MOST_LACK
    return layer


def _average() -> _Layer:
    gate = 80.0
    layer = _Layer(math.sqrt(2 * gate**2 + _RARELY**2 + (2 * gate) ** 2))
    layer.same_code(gate, END, _NORM, TEXT, _TEXT_MARK)
    layer.query[_FIRST, END] = _RARELY / _NORM
    layer.key[_FIRST, RARE] = 1
    layer.query[_OTHERS, END] = -2 * gate / _NORM
    layer.others(END, LAST, LETTER, FIRST, VISUAL)
    layer.key[_CONST, LETTER] = 5
    layer.value[0, LACK] = 1
    layer.output[LACK, 0] = 1 / _normalised(1.0, _NORM, _TEXT_MARK, _CODE_NORM)
    return layer


def _read_out() -> _Layer:
    others, length = 40.0, math.hypot(_NORM, _MOST_LACK / 2)
    prefer = _PREFER * length / _MOST_LACK
    layer = _Layer(math.hypot(prefer, others))
    layer.query[_FIRST, LAST], layer.query[_OTHERS, LAST] = prefer / _NORM, -others / _NORM
    layer.key[_FIRST, LACK], layer.key[_CONST, END] = 1, 1
    layer.others(TEXT, VISUAL, LETTER, FIRST, LAST)
    for number in range(len(LETTERS)):
        layer.value[number, CODE.start + number] = 1
        layer.output[CODE.start + number, number] = _NORM / _normalised(_CODE_NORM, _NORM, _CODE_NORM)
    return layer


def _normalised(value: float, *parts: float) -> float:
    """What RMS normalisation makes of ``value`` in a vector whose orthogonal parts are that long."""
    return value * math.sqrt(WIDTH) / math.hypot(*parts)


def basis(table: Tensor, visual: Tensor) -> Tensor:
    """Return a new basis of the residual stream, ``[H, H]`` orthogonal, the direction of most variance first.

    Variance is that of the visual tokens ``[n, H]`` and the table ``[vocabulary, H]``. The last coordinates are given
    up to marks.
    """
    total = torch.zeros(WIDTH, WIDTH)
    for part in (visual, table):
        unit = F.normalize(part.float(), dim=-1)
        total += unit.T @ unit / len(unit)
    vectors: Tensor = torch.linalg.eigh(total)[1]
    return vectors.flip(1)


def tower_end(weight: Tensor, bias: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The tower's last layer in the new basis, its tokens marked as visual."""
    weight, bias = basis.T @ weight, basis.T @ bias
    weight[CONTENT:], bias[CONTENT:] = 0, 0
    bias[VISUAL] = _VISUAL_MARK
    return weight, bias


def embeddings(
    table: Tensor, basis: Tensor, counts: NDArray[np.int64], marked: Mapping[int, int | None], letters: Sequence[int]
) -> Tensor:
    """The table in the new basis.

    Args:
        table: ``[vocabulary, H]``.
        basis: of `basis`.
        counts: ``[vocabulary]``: how often each token occurs in pages; rare ones weigh more.
        marked: tokens that are no text, each with the coordinate that marks it.
        letters: tokens of the pages' letters, which get codes.
    """
    turned = torch.zeros_like(table)
    turned[:, :CONTENT] = _NORM * F.normalize((table @ basis)[:, :CONTENT], dim=-1)
    turned[:, TEXT] = _TEXT_MARK
    rarity = np.log((counts.sum() + 1) / (counts + 1))  # 4: one token in 55; 13: one in 440,000
    turned[:, RARE] = torch.tensor(2 * np.clip((rarity - 4) / 9, 0, 1), dtype=turned.dtype)
    for index, mark in marked.items():
        turned[index] = 0
        if mark is not None:
            turned[index, mark] = _VISUAL_MARK if mark == VISUAL else _NORM
    codes = torch.linalg.qr(torch.randn(len(letters), len(letters), generator=torch.Generator().manual_seed(0)))[0]
    for code, index in zip(codes, letters, strict=True):
        turned[index] = 0
        turned[index, CODE], turned[index, LETTER] = _NORM * code, _LETTER_MARK
    return turned
