"""Engine options: each is a field of ``EngineOptions``, and is taken wherever an engine is loaded."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
import typing
from pathlib import Path
from typing import Any

import pytest
import typer
from option_values import CALL_VALUES, ENGINE_VALUES
from ziprerank.batch.ranking import Ranker
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.integrations.haystack import ZipRerankRanker as HaystackRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.ranking import RankOptions
from ziprerank.integrations.rerankers import ZipRerankRanker
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineKeywords, EngineOptions, load_engine, options_of, parse_size, show_size
from ziprerank.scale.ray_serve import Options as RayOptions
from ziprerank.serve.routes import rerank_files
from ziprerank.serve.schemas import Options as RequestOptions

FIELDS = [field.name for field in dataclasses.fields(EngineOptions)]
FLAGS = [name.removesuffix("_bytes") + "_size" if name.endswith("_bytes") else name for name in FIELDS]
RANKING_COMMANDS = ("rank", "plan", "explain", "profile", "batch", "serve", "doctor", "eval")


def test_the_values_of_this_test_are_no_defaults() -> None:
    assert list(ENGINE_VALUES) == FIELDS
    assert EngineOptions(**ENGINE_VALUES).given() == ENGINE_VALUES


def test_the_library_takes_every_option() -> None:
    parameters = inspect.signature(Reranker.from_bundle).parameters
    assert list(parameters) == ["path", *FIELDS[1:]]
    defaults = {field.name: field.default for field in dataclasses.fields(EngineOptions)}
    assert {name: parameters[name].default for name in FIELDS[1:]} == {name: defaults[name] for name in FIELDS[1:]}


@pytest.mark.parametrize("command", RANKING_COMMANDS)
def test_every_command_that_ranks_takes_every_option(command: str) -> None:
    found = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    flags = {one.name: one for one in found}
    assert set(FLAGS) <= set(flags)
    for name in FLAGS:
        envvar = f"ZIPRERANK_{name.upper()}" if command == "serve" else None
        assert flags[name].envvar == envvar
        assert flags[name].help


def test_ray_serve_and_the_adapters_take_every_option() -> None:
    expected = EngineOptions(**ENGINE_VALUES)
    assert RayOptions(**ENGINE_VALUES).engine_options() == expected
    assert ZipRerankCompressor(**ENGINE_VALUES).reranker.options == expected  # type: ignore[union-attr]
    assert ZipRerankPostprocessor(**ENGINE_VALUES).reranker.options == expected  # type: ignore[union-attr]
    others = {name: value for name, value in ENGINE_VALUES.items() if name != "bundle"}
    assert HaystackRanker(**ENGINE_VALUES).reranker.options == expected
    assert ZipRerankRanker(ENGINE_VALUES["bundle"], **others).reranker.options == expected
    assert ZipRerankCrossEncoder(ENGINE_VALUES["bundle"], **others).reranker.options == expected
    assert list(typing.get_type_hints(EngineKeywords)) == FIELDS[1:]


@pytest.mark.parametrize("name", CALL_VALUES)
def test_an_option_of_a_ranking_is_one_everywhere(name: str) -> None:
    defaults = inspect.signature(Reranker.rank).parameters
    takers: list[Any] = [Reranker.rank_many, Reranker.plan, RankOptions, Ranker]
    takers += [one.__init__ for one in (HaystackRanker, ZipRerankRanker, ZipRerankCrossEncoder)]
    others = [inspect.signature(taker).parameters[name].default for taker in takers]
    others += [taker.model_fields[name].default for taker in (ZipRerankCompressor, ZipRerankPostprocessor)]
    assert others == [defaults[name].default] * len(others)
    for command in ("rank", "plan", "explain", "batch"):
        found = {one.name: one for one in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
        assert found[name].default == defaults[name].default
    served = None if name == "on_bad_page" else defaults[name].default  # which the server has a default for
    assert RequestOptions.model_fields[name].default == served
    assert inspect.signature(rerank_files).parameters[name].default == served


def test_an_option_that_does_not_exist_is_refused() -> None:
    for adapter in (HaystackRanker, ZipRerankRanker, ZipRerankCrossEncoder):
        with pytest.raises(TypeError, match="providr"):
            adapter(providr="cpu")


def test_ray_serve_reads_sizes_as_the_command_line_does() -> None:
    options = RayOptions(pool_bytes="64M", page_cache_bytes="2G").engine_options()
    assert (options.pool_bytes, options.page_cache_bytes) == (64 << 20, 2 << 30)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": -1},
        {"threads": True},
        {"threads": 1.5},
        {"pool_bytes": 0},
        {"pool_bytes": "4G"},
        {"page_cache_bytes": -1},
        {"blank": "maybe"},
        {"check": "half"},
        {"page_workers": 0},
        {"page_workers": "many"},
        {"page_workers": True},
        {"page_timeout": 0},
        {"page_timeout": float("nan")},
        {"page_memory_bytes": 0},
        {"max_prompt_tokens": 0},
        {"max_prompt_tokens": 1.5},
        {"max_prompt_tokens": (1 << 20) + 1},
    ],
)
def test_a_bad_value_is_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InvalidInput, match=name):
        EngineOptions(**options)


def test_options_are_plain_values() -> None:
    options = EngineOptions(Path("some/bundle"), page_cache=Path("some/folder"))
    assert json.loads(json.dumps(dataclasses.asdict(options)))["bundle"] == "some/bundle"
    assert pickle.loads(pickle.dumps(Ranker(options))).engine == options


@pytest.mark.parametrize("count", [1, 1023, 1 << 10, 3 << 20, 1 << 30, 4 << 30, (4 << 30) + 1])
def test_sizes_are_read_as_they_are_shown(count: int) -> None:
    assert parse_size(show_size(count)) == count


def test_an_engine_tells_the_options_that_load_it_again(small_pages: Path) -> None:
    given = EngineOptions(small_pages, threads=1, pool_bytes=32 << 20, blank="keep", check="size")
    reranker = Reranker.from_options(given)
    assert reranker.options is given
    derived = options_of(reranker.bundle, reranker.engine)
    assert derived == dataclasses.replace(given, check="full")
    assert load_engine(reranker.bundle, derived).info["pool_bytes"] == reranker.engine.info["pool_bytes"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("4G", 4 << 30), ("512m", 512 << 20), ("1.5 GiB", 3 << 29), ("2TB", 2 << 40), ("8k", 8192), ("123456", 123456)],
)
def test_sizes(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize("text", ["", "G", "4 gigs", "-1", "1e9", "4GG", "٤G"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="such as 4G"):
        parse_size(text)
