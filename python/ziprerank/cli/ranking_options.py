"""The options of a ranking as flags, for every command that ranks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import typer

from ziprerank.budget import BUDGET
from ziprerank.cli.flags import Command, flag, in_place_of
from ziprerank.errors import InvalidInput, quoted
from ziprerank.first_stage.stage import CANDIDATES, CANDIDATES_HELP, FIRST_STAGE, FirstStage
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.strategies import STRATEGY, StrategyOption
from ziprerank.windows import MAX_WINDOW, WindowOption

RankingOptions: TypeAlias = Mapping[str, Any]
"""Values by the names that ``Reranker.rank`` has for them: ``reranker.rank(query, pages, **options)``."""

_KEEP_RATIO = "Share of each page's visual tokens that the decoder reads, in (0, 1]. Default: the bundle's."
_WINDOW = f"Pages in one pass: 1..{MAX_WINDOW}, 'auto' (the bundle's) or 'off' (all at once)."
_STRIDE = "Pages by which the window moves. Default: the bundle's."
_CANDIDATES = f"{CANDIDATES_HELP} Default: {CANDIDATES}."
_INSTRUCTION = "What makes a page relevant, for bundles whose prompt has a place for it. Default: the bundle's."

_FLAGS: Sequence[inspect.Parameter | str] = [
    flag("keep_ratio", Annotated[float | None, typer.Option(help=_KEEP_RATIO)], None),
    flag("window", Annotated[str, typer.Option(help=_WINDOW)], "auto"),
    flag("stride", Annotated[int | None, typer.Option(help=_STRIDE)], None),
    flag("strategy", Annotated[StrategyOption, typer.Option(help=STRATEGY)], "auto"),
    flag("first_stage", Annotated[FirstStage, typer.Option(help=FIRST_STAGE)], "auto"),
    flag("candidates", Annotated[int | None, typer.Option(help=_CANDIDATES)], None),
    flag("instruction", Annotated[str | None, typer.Option(help=_INSTRUCTION)], None),
    "pages",  # of the command's own, as the next
    "password",
    flag("on_bad_page", Annotated[OnBadPage, typer.Option(help=ON_BAD_PAGE)], "raise"),
    flag("budget_ms", Annotated[float | None, typer.Option(help=BUDGET)], None),
]


def with_ranking_options(*, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Gives a command the options of ``Reranker.rank`` as flags, in place of its ``options: RankingOptions``.

    These are all but ``top_k``, of which each command says for itself what it does with the best pages.

    Args:
        without: Options that the command does not have, or has in a way of its own. Nothing is in ``options`` for them.
    """
    flags = [one for one in _FLAGS if isinstance(one, str) or one.name not in without]

    def read(given: dict[str, Any]) -> RankingOptions:
        return given | ({"window": parse_window(given["window"])} if "window" in given else {})

    return lambda command: in_place_of("options", flags, read, command)


def given_flags(options: RankingOptions) -> list[str]:
    """Returns the flags, such as ``--window``, whose values are none of the defaults."""
    defaults = {one.name: one.default for one in _FLAGS if not isinstance(one, str)}
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value != defaults[name]]


def parse_window(text: str) -> WindowOption:
    """Returns ``"auto"``, ``"off"`` or a number, as ``Reranker.rank`` takes it. Raises InvalidInput."""
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"window {quoted(text)}: must be 1..{MAX_WINDOW}, 'auto' or 'off'") from None
