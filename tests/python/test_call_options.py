"""Options of one ranking: each parameter of ``Reranker.rank`` is taken wherever pages are ranked."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import typer
from option_values import CALL_VALUES
from ziprerank.batch.ranking import Ranker
from ziprerank.cli.app import app
from ziprerank.integrations.haystack import ZipRerankRanker as HaystackRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.ranking import RankOptions
from ziprerank.integrations.rerankers import ZipRerankRanker
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker
from ziprerank.serve.routes import rerank_files
from ziprerank.serve.schemas import Options

CALL = set(inspect.signature(Reranker.rank).parameters) - {"self", "query", "pages", "progress", "cancel"}
TOP = {"top_k"}  # called top_n where a framework or an API has that name


def test_the_values_of_this_test_are_all_options_and_no_defaults() -> None:
    parameters = inspect.signature(Reranker.rank).parameters
    assert set(CALL_VALUES) | TOP == CALL
    assert all(parameters[name].default != value for name, value in CALL_VALUES.items())
    assert list(inspect.signature(Reranker.rank_many).parameters)[2:] == list(parameters)[2:]
    assert [*list(inspect.signature(Reranker.plan).parameters)[2:], "progress", "cancel"] == list(parameters)[2:]


@pytest.mark.parametrize("command", ["rank", "plan", "explain", "batch"])
def test_every_command_takes_them(command: str) -> None:
    flags = {one.name: one for one in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
    assert set(flags) >= CALL
    assert all(flags[name].help for name in CALL)


def test_the_profile_takes_those_that_change_its_pages() -> None:
    flags = {one.name for one in typer.main.get_command(app).commands["profile"].params}  # type: ignore[attr-defined]
    assert {"keep_ratio", "instruction", "on_bad_page"} <= flags


def test_the_service_takes_them_in_json_and_in_forms() -> None:
    assert set(Options.model_fields) >= (CALL - TOP) | {"top_n"}
    assert set(inspect.signature(rerank_files).parameters) >= (CALL - TOP) | {"top_n"}


def test_batch_jobs_take_them() -> None:
    assert {field.name for field in dataclasses.fields(Ranker)} >= CALL


def test_the_adapters_take_them() -> None:
    expected = RankOptions(**CALL_VALUES)
    for adapter in (HaystackRanker, ZipRerankRanker, ZipRerankCrossEncoder):
        assert adapter(**CALL_VALUES).options == expected
    for model in (ZipRerankCompressor, ZipRerankPostprocessor):
        assert model(**CALL_VALUES)._rank_options() == expected
    again = HaystackRanker.from_dict(HaystackRanker(**CALL_VALUES).to_dict())
    assert again.options == expected
    converted = ZipRerankRanker(**CALL_VALUES).as_langchain_compressor()
    assert converted._rank_options() == expected
