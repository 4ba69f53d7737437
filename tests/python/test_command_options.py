"""Every option of every command that ranks reaches the call that ranks. The calls are recorded, and rank nothing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from option_values import CALL_VALUES, ENGINE_VALUES
from typer.testing import CliRunner
from ziprerank.batch import workers
from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.rows import Group
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.inputs.pages import Pdf
from ziprerank.profiling import record
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineLike, EngineOptions, show_size

QUERY = "dividend"
COMMANDS = ("rank", "plan", "explain", "batch", "eval", "profile")
RENAMED = {("eval", "first_stage"): "engine_first_stage"}  # the flag of the option's own name says something else
BESIDE = {("eval", "candidates"): ["--engine-first-stage", "text"]}  # without which an option is refused
CASES = [(command, name) for command in COMMANDS for name in CALL_VALUES]


class Recorded(BaseException):
    """The call that ranks has come; no command takes this for an error of a page or a row."""


class Commands:
    """Runs commands up to the call that ranks.

    Attributes:
        calls: Arguments of the calls of ``Reranker.rank``, ``rank_many`` or ``plan``.
        engines: Options of the engines that were loaded.
    """

    def __init__(self, folder: Path, sample: Path, loaded: Reranker, instructed: Reranker) -> None:
        self.calls: list[dict[str, Any]] = []
        self.engines: list[EngineOptions] = []
        self.passwords: list[str | None] = []  # of batches
        self._folder, self._sample = folder, sample
        self._bundles = {str(one.bundle.path): one for one in (loaded, instructed)}
        self._loaded = loaded
        self._calls_before = 0  # what ranks only to warm up
        (folder / "rows.jsonl").write_text(json.dumps({"id": "a", "query": QUERY, "documents": [str(sample)]}))
        (folder / "data").mkdir()
        (folder / "data" / "a.pdf").write_bytes(sample.read_bytes())
        question = {"query": QUERY, "document": "a.pdf", "page": 2}
        (folder / "data" / "queries.jsonl").write_text(json.dumps(question))

    def run(self, command: str, *flags: object) -> dict[str, Any]:
        """Runs a command and returns the arguments of its call."""
        self.calls.clear()
        self._calls_before = 1 if command == "profile" else 0
        out = self._folder / f"out-{len(list(self._folder.iterdir()))}"
        given: dict[str, list[object]] = {
            "rank": [QUERY, self._sample],
            "plan": [self._sample, "--query", QUERY],
            "explain": [QUERY, self._sample, "--out", f"{out}.png"],
            "profile": [self._sample, "--query", QUERY, "--out", f"{out}.json", "--runs", "1"],
            "batch": [self._folder / "rows.jsonl", out],
            "eval": [self._folder / "data", out],
        }
        plain, instructed = self._bundles  # the second takes an instruction, and neither windows nor a first stage
        bundle = [] if "--bundle" in flags else ["--bundle", instructed if "--instruction" in flags else plain]
        with pytest.raises(Recorded):
            CliRunner().invoke(app, [command, *map(str, [*given[command], *bundle, *flags])])
        return self.calls[-1]

    def recorder(self, method: Callable[..., Any]) -> Callable[..., None]:
        """Returns what stands in for a method of the reranker."""
        signature = inspect.signature(method)

        def call(*arguments: Any, **options: Any) -> None:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            self.calls.append(bound.arguments)
            if len(self.calls) > self._calls_before:
                raise Recorded

        return call

    def load(self, options: EngineOptions) -> Reranker:
        """For ``Reranker.from_options``."""
        self.engines.append(options)
        return self._bundles.get(str(options.bundle), self._loaded)

    def load_engine(self, _: Bundle, options: EngineOptions, *, profile: str) -> EngineLike:  # noqa: ARG002 - its signature
        """For ``load_engine``."""
        return self.load(options).engine

    def rank_here(self, groups: Iterable[Group], ranker: Ranker, workers: int) -> Iterator[Done]:  # noqa: ARG002
        """For ``rank_locally``: in this process."""
        self.passwords.append(ranker.password)
        for group in groups:
            yield from ranker.rank(ranker.load(), group)


@pytest.fixture(scope="module")
def loaded(small_pages: Path) -> Reranker:
    return Reranker.from_bundle(small_pages, check="size", threads=1)


@pytest.fixture(scope="module")
def instructed(yes_no_bundle: Path) -> Reranker:
    """Has a place for an instruction in its prompt."""
    return Reranker.from_bundle(yes_no_bundle, check="size", threads=1)


@pytest.fixture
def commands(
    loaded: Reranker, instructed: Reranker, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Commands:
    commands = Commands(tmp_path, sample, loaded, instructed)
    for method in (Reranker.rank, Reranker.rank_many, Reranker.plan):
        monkeypatch.setattr(Reranker, method.__name__, commands.recorder(method))
    monkeypatch.setattr(Reranker, "from_options", commands.load)
    monkeypatch.setattr(workers, "rank_locally", commands.rank_here)
    monkeypatch.setattr(record, "load_engine", commands.load_engine)
    return commands


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize(("command", "name"), CASES)
def test_an_option_reaches_the_ranking(commands: Commands, command: str, name: str) -> None:
    flags = [flag(RENAMED.get((command, name), name)), CALL_VALUES[name], *BESIDE.get((command, name), [])]
    plain, given = commands.run(command), commands.run(command, *flags)
    assert given[name] == CALL_VALUES[name]
    assert plain[name] != CALL_VALUES[name]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_left_out(command: str) -> None:
    flags = {one.name for one in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
    assert {RENAMED.get((command, name), name) for name in CALL_VALUES} <= flags


@pytest.mark.parametrize("command", ["rank", "plan", "explain", "batch", "profile"])
def test_how_many_pages_are_asked_for_reaches_the_ranking(commands: Commands, command: str) -> None:
    assert commands.run(command, "--top-k", 4)["top_k"] == 4


@pytest.mark.parametrize("command", ["rank", "plan", "explain", "profile"])
def test_pages_and_password_reach_the_documents(commands: Commands, sample: Path, command: str) -> None:
    given = commands.run(command, "--pages", "2-4", "--password", "sesame")
    assert given["pages"] == [Pdf(sample, "2-4", "sesame")]


def test_the_password_of_a_batch_reaches_its_ranker(commands: Commands) -> None:
    commands.run("batch", "--password", "sesame")
    assert commands.passwords == ["sesame"]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_the_engine_reach_what_loads_it(
    commands: Commands, command: str, tmp_path: Path, loaded: Reranker
) -> None:
    values = {**ENGINE_VALUES, "bundle": loaded.bundle.path, "page_cache": tmp_path / "cache"}
    flags: list[object] = []
    for name, value in values.items():
        if name.endswith("_bytes"):
            flags += [flag(name.replace("_bytes", "_size")), show_size(value)]
        else:
            flags += [flag(name), value]
    commands.run(command, *flags)
    assert commands.engines == [EngineOptions(**values)]
