"""The systems that ziprerank is compared with, on the same weights and pages, in PyTorch.

These are transformers in one pass, without and with the paper's pruning; a listwise answer generated token by token;
and one pass per page.
All of them render, process and encode pages in the same way, so a round does that once, and the total time of a system
is the sum of its stages.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from tokenizers import Tokenizer
from torch import Tensor
from ziprerank.bundle import Bundle
from ziprerank.prompt import PromptBuilder
from ziprerank.windows import Outcome, run_windows

from .cases import AGAIN, FILE, REASONING, Case, Clock, Read, Sample, System
from .nvml import Joules, between, total
from .page_by_page import PageByPage
from .torch_model import Features, Packed, Pixels, TorchModel

SINGLE_PASS, PRUNED, LISTWISE, POINTWISE = "transformers", "transformers_pruned", "autoregressive", "pointwise"


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of a page in the last window that held it.

    Attributes:
        logit: of the page's letter.
        spread: largest less smallest of the window's 20 letter logits.
    """

    logit: float
    spread: float


@dataclass(slots=True)
class Pages:
    """Encoded pages, and the cost of the stages that all systems share.

    Attributes:
        features: output of the vision tower.
        shared: milliseconds by stage.
        energy: joules, None where no counter can be read.
    """

    features: Features
    shared: dict[str, float] = field(default_factory=dict)
    energy: float | None = None


class Baselines:
    """All systems on PyTorch for one case; each round begins with `prepare`.

    Attributes:
        prompt: of a window.
        page_by_page: the passes of the pointwise system.
    """

    def __init__(self, model: TorchModel, case: Case, energy: Joules, page_bundle: Bundle | None = None) -> None:
        """Builds the prompts.

        Args:
            model: the checkpoint.
            case: what is ranked, on a bundle with letters.
            energy: the counter of the GPU.
            page_bundle: one that scores each page by itself; None: the pointwise system reads the case's prompt for one
                page.
        """
        self.model, self.case, self._energy = model, case, energy
        self._prompts = PromptBuilder(case.bundle)
        self._query = self._prompts.check_query(case.query)
        self.prompt = self._prompts.build(self._query, case.plan.width)
        self.page_by_page = PageByPage(model, case.query, page_bundle or case.bundle)
        tokenizer = Tokenizer.from_file(str(case.bundle.path / "tokenizer.json"))
        ranking = "] > [".join(string.ascii_uppercase[: case.plan.width]) + "]"  # the prompt ends with the first "["
        self.ranking_tokens = len(tokenizer.encode(ranking, add_special_tokens=False).ids) + 1  # with the end token

    def process(self) -> Pixels:
        """Renders the case's pages and brings them into the vision tower's input format."""
        return self.model.process(self.model.render(self.case.pdf, self.case.numbers))

    @torch.inference_mode()
    def prepare(self) -> Pages:
        """Renders and encodes the pages and builds the prompt, timing each stage."""
        clock, energy = Clock(self.model.finish), self._energy()
        with clock.stage("pages"):
            pixels = self.process()
        with clock.stage("tokenize"):
            self._prompts.build(self._query, self.case.plan.width)
        with clock.stage("vision"):
            features = self.model.encode(pixels)
        return Pages(features, clock.stages, between(energy, self._energy()))

    def single_pass(self, pages: Pages) -> list[Sample]:
        """Scores all pages in one pass, without pruning."""
        return self._timed_pass(System(SINGLE_PASS, self.model.precision), pages, None)

    def pruned(self, pages: Pages, keep_ratio: float) -> list[Sample]:
        """The paper's method."""
        return self._timed_pass(System(PRUNED, self.model.precision, keep_ratio), pages, keep_ratio)

    def _timed_pass(self, system: System, pages: Pages, keep_ratio: float | None) -> list[Sample]:
        clock, energy = Clock(self.model.finish), self._energy()
        _, read = self.scores(pages.features, keep_ratio, clock)
        return _samples(system, pages, clock.stages, read, between(energy, self._energy()))

    @torch.inference_mode()
    def scores(
        self, features: Features, keep_ratio: float | None, clock: Clock | None = None
    ) -> tuple[Outcome[Scored], Read]:
        """Scores every window in one pass.

        Args:
            features: encoded pages.
            keep_ratio: share of each page's visual tokens that the decoder reads; None skips the pruning code.
            clock: adds up the milliseconds of the stages.

        Returns:
            The ranking, and the tokens read.
        """
        read, clock = Read(), clock or Clock(self.model.finish)

        def logits(window: Sequence[int]) -> Tensor:
            with clock.stage("decoder"):
                packed = self._pack(features, window, read)
            if keep_ratio is not None:
                counts = [len(features.tokens[page]) for page in window]
                with clock.stage("prune"):
                    packed = self.model.prune(packed, self.prompt, keep_ratio, counts)
            read.kept += int(packed.is_visual.sum())
            with clock.stage("decoder"):
                return self.model.letter_logits(self.model.last_hidden(packed))

        return self._over_windows(logits), read

    @torch.inference_mode()
    def listwise(self, pages: Pages) -> list[Sample]:
        """Generates ``A] > [B] > ...`` greedily with a key-value cache.

        The number of generated tokens is fixed, so the time does not depend on the weights.
        One run gives the samples of all `REASONING` lengths, by reading the clock at each.
        """
        reads = {reasoning: Read() for reasoning in REASONING}
        spent = {reasoning: {"decoder": 0.0, "generate": 0.0} for reasoning in REASONING}
        lengths = {reasoning: reasoning + self.ranking_tokens for reasoning in REASONING}
        joules: dict[int, float | None] = dict.fromkeys(REASONING, 0.0)

        def logits(window: Sequence[int]) -> Tensor:
            energy, started = self._energy(), perf_counter()
            packed = self._pack(pages.features, window, *reads.values())
            hidden, cache = self.model.prefill(packed)
            first = self.model.lm_head(hidden)
            token = first.argmax(dim=-1)
            position = int(packed.positions.max()) + 1
            self.model.finish()
            after_prefill = _since(started)
            for count in range(1, max(lengths.values()) + 1):
                if count > 1:
                    token = self.model.lm_head(self.model.step(token, position, cache)).argmax(dim=-1)
                    position += 1
                for reasoning, length in lengths.items():
                    if count == length:
                        self.model.finish()
                        joules[reasoning] = total(joules[reasoning], between(energy, self._energy()))
                        spent[reasoning]["decoder"] += after_prefill
                        spent[reasoning]["generate"] += _since(started) - after_prefill
                        reads[reasoning].generated += count
                        reads[reasoning].kept += int(packed.is_visual.sum())
            return first[0, self.model.letters].float()

        self._over_windows(logits)
        return [
            sample
            for reasoning in REASONING
            for sample in _samples(
                System(LISTWISE, self.model.precision, 1.0, reasoning),
                pages,
                spent[reasoning],
                reads[reasoning],
                joules[reasoning],
            )
        ]

    @torch.inference_mode()
    def pointwise(self, pages: Pages) -> list[Sample]:
        """Scores each page in a pass of its own, as Qwen3-VL-Reranker's own code does it, but in batches."""
        energy, started = self._energy(), perf_counter()
        _, read = self.page_by_page.log_odds(pages.features)
        self.model.finish()
        own = {"decoder": _since(started)}
        system = System(POINTWISE, self.model.precision)
        return _samples(system, pages, own, read, between(energy, self._energy()))

    def _pack(self, features: Features, window: Sequence[int], *reads: Read) -> Packed:
        for read in reads:
            read.add(len(self.prompt.text_ids), [len(features.tokens[page]) for page in window])
        return self.model.pack(self.prompt.text_ids, features, window)

    def _over_windows(self, logits: Callable[[Sequence[int]], Tensor]) -> Outcome[Scored]:
        """Runs the windows of the case, each in the order left by the previous one."""

        def score(_: int, window: Sequence[int]) -> list[Scored]:
            letters = logits(window)
            spread = float(letters.max() - letters.min())
            return [Scored(logit, spread) for logit in letters[: len(window)].tolist()]

        return run_windows(self.case.plan, score, key=lambda page: page.logit)


def _samples(system: System, pages: Pages, own: dict[str, float], read: Read, energy: float | None) -> list[Sample]:
    """Makes the samples of the first and the next query.

    For the next query the pixel values are in memory, and the vision tower runs again.
    Rendering runs on the CPU, so the GPU's energy is the same for both.
    """
    samples = []
    for start in (FILE, AGAIN):
        stages = {**pages.shared, **own}
        if start == AGAIN:
            stages["pages"] = 0.0
        samples.append(
            Sample(
                system=system,
                start=start,
                total=sum(stages.values()),
                stages=stages,
                text_tokens=read.text,
                visual_tokens=read.visual,
                kept_tokens=read.kept,
                generated_tokens=read.generated,
                energy=total(pages.energy, energy),
            )
        )
    return samples


def _since(started: float) -> float:
    return (perf_counter() - started) * 1e3
