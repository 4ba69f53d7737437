"""``ziprerank profile``: a valid trace that agrees with the ranking's own times, ONNX Runtime's files and NVTX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from pdf_files import words_pdf
from typer.testing import CliRunner
from ziprerank import Pdf
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import EngineError, InvalidInput, MissingDependency
from ziprerank.profiling import trace
from ziprerank.profiling.record import Profile, nvtx_watch, record
from ziprerank.profiling.summary import operators_of, stage_table, stages_of
from ziprerank.profiling.trace import Slice, nested, read_profile
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions, load_engine
from ziprerank.runtime.passes import Passes
from ziprerank.runtime.rates import Rates

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "python" / "examples" / "sample.pdf"
QUERY = "dividend shareholders board directors"
PAGES, RUNS = (2, 3, 5), 2
CLOCK_STEP = 1e-3  # ms: what a slice may lack, being rounded to a microsecond


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnxruntime")


@pytest.fixture(scope="module")
def profile(folder: Path) -> Profile:
    return record(QUERY, Pdf(SAMPLE, PAGES), EngineOptions(threads=1), runs=RUNS, folder=folder)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str], str]:
    """The trace, the NVTX log and the terminal of one run of the command, with a tool that listens to NVTX."""
    scratch = tmp_path_factory.mktemp("command")
    tool, log, out = scratch / "tool.so", scratch / "nvtx.log", scratch / "trace.json"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tool, ROOT / "tests" / "nvtx_injection.c"], check=True)
    options = ["--pages", "2,3,5", "-o", out, "--runs", str(RUNS), "--threads", "1", "--nvtx"]
    done = subprocess.run(
        [sys.executable, "-m", "ziprerank.cli", "profile", SAMPLE, "--query", QUERY, *options],
        env={**os.environ, "NVTX_INJECTION64_PATH": str(tool), "NVTX_LOG": str(log), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.read_text()), log.read_text().splitlines(), done.stdout


def test_the_trace_is_in_chromes_format(command: tuple[dict[str, Any], list[str], str]) -> None:
    events = command[0]["traceEvents"]
    assert {event["ph"] for event in events} == {"X", "M"}
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    slices = [event for event in events if event["ph"] == "X"]
    for event in slices:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert (event["pid"], event["tid"]) in named
    assert min(event["ts"] for event in slices) == 0
    ranks = [event for event in slices if event["name"].startswith("rank ")]
    assert [event["name"] for event in ranks] == ["rank 1", "rank 2"]
    visions = [
        event["name"] for event in slices if event["args"].get("stage") == "vision" and event["ts"] > ranks[0]["ts"]
    ]
    assert visions == [f"vision p. {page}" for page in PAGES], "later ones find the pages of the file in memory"


def test_slices_nest(profile: Profile) -> None:
    threads = defaultdict(list)
    for one in profile.slices:
        threads[one.thread].append(one)
    for slices in threads.values():
        for i, one in enumerate(slices):
            for other in slices[i + 1 :]:
                if other.start >= one.end:
                    break
                assert one.holds(other), (one, other)


def test_every_stage_lies_within_its_call(profile: Profile) -> None:
    """A node in a run of its graph, that in the engine's stage, that in the reranker's, that in a ranking."""
    holders = {
        "vision.onnx": ("vision.onnx", "vision"),
        "rerank.onnx": ("rerank.onnx", "rerank"),
    }
    rankings = [one for one in profile.slices if one.kind == "ranking" and one.name != "load"]
    assert len(rankings) == RUNS + 1
    nodes = [one for one in profile.slices if one.kind == "node"]
    assert nodes
    for node in nodes:
        run, stage = holders[node.args["graph"]]
        around = [one for one in profile.slices if one.holds(node) and one.thread == node.thread]
        assert [one.name for one in around if one.kind == "session"] == ["model_run", "SequentialExecutor::Execute"]
        assert [one.name for one in around if one.kind == "engine"] == [run]
        assert [one.args["stage"] for one in around if one.kind == "stage"] == [stage]
        assert sum(one in rankings for one in around) == 1


def test_stages_agree_with_the_timings_of_the_ranking(profile: Profile) -> None:
    """A slice encloses the measurement of the same stage, and all stages together fit into the pass.

    So none of them can be longer than the pass less what was measured of the others.
    """
    for ranking, one in zip(profile.rankings, profile.passes, strict=True):
        stages = {path[0]: share.ms for path, share in stages_of(profile, one).items() if len(path) == 1}
        timings = ranking.timings
        measured = {
            ("open", "wait"): timings.pages,
            ("tokenize",): timings.tokenize,
            ("vision", "rerank"): timings.vision + timings.rerank,
        }
        for names, ms in measured.items():
            found = sum(stages.get(name, 0) for name in names)
            others = sum(measured.values()) - ms
            assert ms - CLOCK_STEP <= found <= one.ms - others + CLOCK_STEP
        assert one.ms >= timings.total - CLOCK_STEP


def test_stages_and_parts_by_name(profile: Profile) -> None:
    first, second = (stages_of(profile, one) for one in profile.passes)
    assert {path: share.calls for path, share in first.items() if path[0] in ("vision", "rerank")} == {
        ("vision",): 3,
        **{("vision", name): 3 for name in ("digest", "blank", "patchify", "vision.onnx")},
        ("rerank",): 1,
        **{("rerank", name): 1 for name in ("layout", "wait", "rerank.onnx")},
        **{("rerank", "rerank.onnx", name): 1 for name in ("embed", "prune", "decoder", "letters")},
    }
    assert first["render (beside)",].calls == 3
    found = {path[0] for path in second}
    assert "rerank" in found
    assert not {"vision", "wait", "render (beside)"} & found, "all pages are in memory, and found by their file"


def test_parts_of_the_decoder_follow_the_nodes(profile: Profile) -> None:
    parts = [one for one in profile.slices if one.kind == "part" and profile.passes[0].holds(one)]
    assert [one.name for one in parts] == ["embed", "prune", "decoder", "letters"]
    nodes = [one for one in profile.slices if one.kind == "node" and profile.passes[0].holds(one)]
    inside = {part.name: [node for node in nodes if part.holds(node)] for part in parts}
    assert [node.args["op_name"] for node in inside["prune"]] == ["QueryImagePrune"]
    assert inside["letters"][0].args["output_type_shape"] == [{"float": [1, 20]}]
    attention = [node for node in nodes if node.args["op_name"] == "CausalAttention"]
    assert attention
    assert all(node in inside["decoder"] for node in attention)


def test_nodes_are_those_of_onnx_runtimes_own_files(profile: Profile, folder: Path) -> None:
    own_calls: Counter[tuple[str, str]] = Counter()
    own_us: Counter[tuple[str, str]] = Counter()
    runs: Counter[str] = Counter()
    for file in folder.iterdir():
        graph = file.name.split(".")[1].split("_")[0] + ".onnx"
        for event in json.loads(file.read_text()):
            if event["cat"] == "Node":
                own_calls[graph, event["args"]["op_name"]] += 1
                own_us[graph, event["args"]["op_name"]] += event["dur"]
            runs[graph] += event["name"] == "model_run"
    assert runs == {"vision.onnx": 1 + len(PAGES), "rerank.onnx": 1 + RUNS}, "1 for the warm-up, whose pages are equal"
    found: Counter[tuple[str, str]] = Counter()
    microseconds: Counter[tuple[str, str]] = Counter()
    for node in profile.slices:
        if node.kind == "node":
            found[node.args["graph"], node.args["op_name"]] += 1
            microseconds[node.args["graph"], node.args["op_name"]] += (node.end - node.start) / 1e3
    assert found == own_calls
    for key, spent in own_us.items():
        assert spent - 2 * own_calls[key] <= microseconds[key] <= spent, "cut by 2 us at most, never longer"
    shares = operators_of(profile)
    for key, calls in own_calls.items():
        counted = {"vision.onnx": len(PAGES), "rerank.onnx": RUNS}[key[0]]
        assert shares[key].calls == calls // runs[key[0]] * counted


def test_nvtx_ranges_by_stage(command: tuple[dict[str, Any], list[str], str]) -> None:
    lines = command[1]
    pushed = [line.split() for line in lines if line.startswith("push")]
    assert {domain for _, domain, _, _ in pushed} == {"ziprerank"}
    assert lines.count("pop ziprerank") == len(pushed)
    passes = 1 + RUNS
    assert Counter((stage, payload) for _, _, stage, payload in pushed) == {
        **{(stage, "-"): passes for stage in ("open", "tokenize", "rerank")},
        # the warm-up's pages are of no file, and the last ranking finds those of the first
        **{(stage, str(page)): passes - 1 for stage in ("wait", "vision", "render") for page in range(len(PAGES))},
    }


def test_the_terminal_shows_stages_and_operators(
    command: tuple[dict[str, Any], list[str], str], profile: Profile
) -> None:
    shown = command[2]
    for name in (
        "vision",
        "patchify",
        "prune",
        "decoder",
        "letters",
        "render (beside)",
        "CausalAttention",
        "others",
    ):
        assert name in shown
    assert len(stage_table(profile).columns) == 7
    assert shown.rstrip().endswith("ui.perfetto.dev")


@pytest.mark.usefixtures("profile")
def test_options_of_a_ranking_are_those_of_each(small_pages: Path) -> None:
    long = words_pdf(f"subject{page} and what is said of it" for page in range(30))
    options = {"top_k": 3, "keep_ratio": 0.5, "first_stage": "text", "candidates": 5}
    found = record(
        "subject7", long, EngineOptions(bundle=small_pages, threads=1, check="size", blank="keep"), runs=2, **options
    )
    for ranking in found.rankings:
        assert (len(ranking), ranking.first_stage) == (3, "text")
        assert [len(page.kept) for page in ranking] == [round(0.5 * page.tokens) for page in ranking]
    read = [one.args["candidate"] for one in found.slices if one.args.get("stage") == "vision"]
    assert sorted(read[:20]) == list(range(20))  # the warm-up
    assert sorted(read[20:]) == [0, 1, 2, 3, 7]  # once: the second ranking finds them in memory


@pytest.mark.usefixtures("profile")
def test_a_budget_goes_by_no_rate_of_blank_pages(small_pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Rates | None] = []
    calibrate = Reranker._calibrate

    def noted(reranker: Reranker, passes: Passes) -> None:
        found.append(reranker.measured.rates())
        calibrate(reranker, passes)

    monkeypatch.setattr(Reranker, "_calibrate", noted)
    options = EngineOptions(bundle=small_pages, threads=1, check="size", blank="keep")
    record("subject7", words_pdf(["subject7", "and more"]), options, runs=1, budget_ms=1e9)
    assert found == [None]


@pytest.mark.usefixtures("profile")
def test_what_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="runs=0"):
        record(QUERY, SAMPLE, runs=0)
    monkeypatch.setitem(sys.modules, "nvtx", None)
    with pytest.raises(MissingDependency, match=r"ziprerank\[profile\]"):
        nvtx_watch()
    monkeypatch.setattr(trace, "MOST_EVENTS", 10)
    with pytest.raises(EngineError, match="records 10 events at most"):
        read_profile(next(folder.iterdir()), "vision.onnx", 0)


def test_a_trace_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for out, told in ((tmp_path, "cannot be written: name a file"), (tmp_path / "none" / "a.json", "no folder")):
        done = CliRunner().invoke(
            app, ["profile", str(SAMPLE), "--query", QUERY, "--out", str(out), "--bundle", "none"]
        )
        assert done.exit_code == 1
        assert told in " ".join(done.output.split())


def test_an_engine_gives_its_profile_once(tmp_path: Path) -> None:
    bundle = Bundle.load()
    with pytest.raises(InvalidInput, match="records no profile"):
        load_engine(bundle).end_profile()
    engine = load_engine(bundle, profile=str(tmp_path / "own"))
    graphs = engine.end_profile()["graphs"]
    assert [graph for graph, _, _ in graphs] == ["vision.onnx", "rerank.onnx"]
    assert {Path(file) for _, file, _ in graphs} == set(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="its profile was taken"):
        engine.end_profile()


def test_nesting_cuts_rounding_and_refuses_a_clock_that_was_set() -> None:
    outer = Slice("outer", "engine", 1, 0, 10_000)
    assert [one.end for one in nested([Slice("inner", "node", 1, 5, 11_000), outer])] == [10_000, 10_000]
    with pytest.raises(EngineError, match="'inner' ends 90 us after 'outer'"):
        nested([outer, Slice("inner", "node", 1, 5, 100_000)])
    beside = Slice("beside", "stage", 2, 5, 100_000)
    assert nested([outer, beside]) == [outer, beside]
