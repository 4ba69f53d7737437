"""The command line in real processes: table, JSON, errors, doctor, explain."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus.pdfs import LOST, five_pages
from PIL import Image
from ziprerank.explain import draw_ranking, kept_mask
from ziprerank.export.host import printed_tokens
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.reranker import Reranker


def ziprerank(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ziprerank.cli.app import app; app()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_json(small_pages: Path, sample: Path) -> None:
    done = ziprerank(
        "rank",
        "fish soup",
        sample,
        "--bundle",
        small_pages,
        "--pages",
        "3-9",
        "--top-k",
        "4",
        "--keep-ratio",
        "0.25",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    ranking = json.loads(done.stdout)
    names = ["query", "results", "first_stage", "strategy", "warnings", "skipped", "timings_ms", "tokens"]
    assert list(ranking) == names
    assert ranking["query"] == "fish soup"
    assert [page["rank"] for page in ranking["results"]] == [1, 2, 3, 4]
    for page in ranking["results"]:
        assert page.pop("warnings") == []
        assert page.pop("passes") == [1]
        fields = ["index", "file", "page", "score", "probability", "sigmoid", "rank", "kept", "tokens"]
        assert list(page) == fields
        assert page["file"] == str(sample)
        assert page["page"] == page["index"] + 3
        assert page["kept"] == max(1, round(0.25 * page["tokens"]))
        assert 0 < page["probability"] < 1
    assert list(ranking["timings_ms"]) == ["pages", "tokenize", "vision", "rerank", "total"]
    assert list(ranking["tokens"]) == ["text", "visual", "blank", "kept"]


@pytest.mark.parametrize("blank", ["drop", "keep"])
def test_blank_tokens(small_pages: Path, sample: Path, blank: str) -> None:
    done = ziprerank("rank", "soup", sample, "--bundle", small_pages, "--pages", "3-4", "--blank", blank, "--json")
    assert done.returncode == 0, done.stderr
    tokens = json.loads(done.stdout)["tokens"]
    assert (0 < tokens["blank"] < tokens["visual"]) == (blank == "drop")


def test_page_features_are_kept_for_the_next_process(small_pages: Path, sample: Path, tmp_path: Path) -> None:
    options = ["--bundle", small_pages, "--pages", "3-5", "--page-cache", tmp_path, "--page-cache-size", "1M", "--json"]
    results, used = [], []
    for _ in range(2):
        done = ziprerank("rank", "fish soup", sample, *options)
        assert (done.returncode, done.stderr) == (0, "")
        results.append(json.loads(done.stdout)["results"])
        used.append({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.page")})
    assert results[0] == results[1]
    assert len(used[0]) == 3
    assert used[0].keys() == used[1].keys()
    assert all(used[1][name] > used[0][name] for name in used[0])  # read, and so the last to be removed


def test_json_of_images(tmp_path: Path, noise: Callable[[int, int, int], np.ndarray]) -> None:
    for seed in range(2):
        Image.fromarray(noise(256, 256, seed)).save(tmp_path / f"{seed}.png")
    done = ziprerank("rank", "x", tmp_path / "0.png", tmp_path / "1.png", "--pages", "7", "--json")
    assert done.returncode == 0, done.stderr
    assert [page["page"] for page in json.loads(done.stdout)["results"]] == [None, None]


def test_a_terminal_has_a_bar_of_pages_and_passes(small_pages: Path, sample: Path) -> None:
    arguments = ["rank", "fish soup", sample, "--bundle", small_pages, "--window", "4", "--stride", "2", "--json"]
    command = [sys.executable, "-c", "from ziprerank.cli.app import app; app()", *map(str, arguments)]
    command += ["--pages", "1-8", "--first-stage", "none"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        assert process.stdout is not None
        results = json.loads(process.stdout.read())["results"]
    assert process.returncode == 0
    steps = [tuple(map(int, step)) for step in re.findall(rb"(\d+)/(\d+) pages, (\d+)/(\d+) passes", shown)]
    assert steps[-1] == (8, 8, 3, 3)
    assert steps == sorted(steps)
    assert len(results) == 8


def test_table(small_pages: Path, sample: Path) -> None:
    done = ziprerank("rank", "fish soup", sample, "--bundle", small_pages, "--pages", "1-3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "page", "probability", "score", "kept"]
    assert "3 pages in 1 pass" in done.stdout
    assert "visual tokens kept" in done.stdout
    assert "A page alone" not in done.stdout


def test_a_table_on_each_scale(small_pages: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page alone has probability 1, and the sigmoid says more of it; what JSON has does not depend on the scale."""
    monkeypatch.setenv("COLUMNS", "200")
    given = ["rank", "fish soup", sample, "--bundle", small_pages, "--pages", "3"]
    as_json = ziprerank(*given, "--scale", "sigmoid", "--json")
    (page,) = json.loads(as_json.stdout)["results"]
    assert page["probability"] == 1
    assert 0 < page["sigmoid"] < 0.9995
    logit = f"{page['score']:.2f}"
    for scale, shown in (("probability", ["1.000"]), ("sigmoid", [f"{page['sigmoid']:.3f}"]), ("logit", [])):
        done = ziprerank(*given, "--scale", scale)
        assert done.returncode == 0, done.stderr
        heads, row, *_ = done.stdout.splitlines()
        assert heads.split() == ["rank", "page", *([scale] if shown else []), "score", "kept"]
        assert row.split("p. 3")[1].split()[: len(shown) + 1] == [*shown, logit]
        assert ("--scale sigmoid goes by its own logit" in done.stdout) == (scale == "probability")
    wrong = ziprerank(*given, "--scale", "x")
    assert wrong.returncode == 2


def test_a_table_has_the_passes_of_each_page_where_there_are_several(
    small_pages: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    given = ["rank", "dividend", sample, "--bundle", small_pages, "--pages", "1-9", "--window", "4", "--stride", "2"]
    for stage in (["--first-stage", "none"], ["--first-stage", "text", "--candidates", "6"]):
        told = json.loads(ziprerank(*given, *stage, "--json").stdout)["results"]
        lines = ziprerank(*given, *stage).stdout.splitlines()
        assert lines[0].split() == ["rank", "page", "probability", "score", "kept", "passes"]
        passes = [re.split(r"(?:of +\d+|not read) *", line)[1].rstrip() for line in lines[1:10]]
        assert passes == [", ".join(map(str, page["passes"])) for page in told]
        assert max(len(page["passes"]) for page in told) > 1
        assert any(not page["passes"] for page in told) == ("text" in stage)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank", "", "SAMPLE"], "Error: the query is empty: say what to look for\n"),
        (["rank", "x", "none.pdf"], "Error: candidate 0 (none.pdf): no such file\n"),
        (["rank", "x", "none.pdf", "--pages", "1"], "Error: candidate 0 (none.pdf): no such file\n"),
        (
            ["rank", "x", "SAMPLE", "--keep-ratio", "nan"],
            "Error: keep_ratio nan: must be over 0 and at most 1 (1 keeps every visual token)\n",
        ),
        (["rank", "x", "SAMPLE", "--window", "few"], "Error: window 'few': must be 1..20, 'auto' or 'off'\n"),
        (
            ["rank", "x", "SAMPLE", "SAMPLE", "--window", "off"],
            "Error: 36 pages, at most 20 in one pass: use window=1..20 or split\n",
        ),
        (
            ["rank", "x", "SAMPLE", "--bundle", "nowhere"],
            "Error: no bundle at nowhere: a bundle is a directory that holds ziprerank.json\n",
        ),
        (
            ["explain", "x", "SAMPLE", "--pages", "1", "-o", "a.gif"],
            "Error: a.gif: a picture's name must end in .png, .jpg or .webp\n",
        ),
    ],
)
def test_errors_are_one_line(sample: Path, arguments: list[str], message: str) -> None:
    done = ziprerank(*(str(sample) if part == "SAMPLE" else part for part in arguments))
    assert done.returncode == 1
    assert done.stderr == message
    assert done.stdout == ""


def test_an_unknown_option_is_a_usage_error(sample: Path) -> None:
    assert ziprerank("rank", "x", sample, "--fast").returncode == 2


def test_doctor() -> None:
    done = ziprerank("doctor")
    assert done.returncode == 0, done.stdout
    for words in ("ONNX Runtime", "CPUExecutionProvider", "libonnxruntime", "prune kernel", "parameters", "Page pool"):
        assert words in done.stdout
    assert "Ready to rank." in done.stdout
    table = " ".join(done.stdout.split())
    for provider in (
        "cpu ready",
        "cuda lacks",
        "tensorrt lacks",
        "tensorrt-rtx lacks onnxruntime-ep-nv-tensorrt-rtx (pip",
    ):
        assert provider in table


def test_doctor_finds_a_damaged_bundle(bundle_copy: Path) -> None:
    (bundle_copy / "rerank.onnx").unlink()
    done = ziprerank("doctor", "--bundle", bundle_copy)
    assert done.returncode == 1
    assert "Problem:" in done.stdout
    assert "misses rerank.onnx" in done.stdout


def test_explain_writes_a_picture(small_pages: Path, sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = ziprerank(
        "explain", "fish soup", sample, "--bundle", small_pages, "--pages", "1-5", "--top-k", "4", "-o", out
    )
    assert done.returncode == 0, done.stderr
    assert "the best 4 of 5 pages" in done.stdout
    with Image.open(out) as picture:
        assert min(picture.size) > 600


def test_dropped_patches_are_faded_and_kept_ones_are_not(reranker: Reranker, sample: Path) -> None:
    pages = Pdf(sample, pages="1-4")
    factor = reranker.bundle.image.factor
    rankings = [reranker.rank("fish soup", pages, 1, keep_ratio=ratio) for ratio in (1.0, 0.5)]
    with open_pages(pages, reranker.bundle.image) as sources:
        half = np.asarray(draw_ranking(rankings[1], sources, reranker.bundle.image))
        top = rankings[1].results[0]
        page = np.asarray(sources[top.index].picture(640))
        best = sources[rankings[0].results[0].index]
        seen = printed_tokens(best.prepare(), factor)
        assert rankings[0].results[0].kept == tuple(seen)  # all but blank paper
    mask = kept_mask(top, factor)
    assert mask.sum() == len(top.kept)
    height, width = page.shape[:2]
    drawn = half[-36 - height : -36, 36 : 36 + width]  # the only page lies in the sheet's lower left corner
    rows, columns = mask.shape
    for row in range(rows):
        for column in range(columns):
            down = slice(row * height // rows + 3, (row + 1) * height // rows - 3)
            across = slice(column * width // columns + 3, (column + 1) * width // columns - 3)
            same = np.array_equal(drawn[down, across], page[down, across])
            assert same == mask[row, column], (row, column)


def test_captions_of_equal_pages_are_their_own(
    reranker: Reranker, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = []
    monkeypatch.setattr("ziprerank.explain._draw_caption", lambda _draw, page, *_place: captions.append(page))
    pages = [Pdf(sample, [2])] * 7
    ranking = reranker.rank("fish soup", pages)
    with open_pages(pages, reranker.bundle.image) as sources:
        draw_ranking(ranking, sources, reranker.bundle.image)
    assert captions == list(ranking)


def test_a_name_that_is_no_text_is_shown_escaped(small_pages: Path, sample: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.pdf")
    odd.write_bytes(sample.read_bytes())
    command = [sys.executable, "-m", "ziprerank.cli", "rank", "fish soup", odd, "--pages", "1-3"]
    for how in ([], ["--json"]):
        done = subprocess.run(
            [*command, "--bundle", small_pages, *how],
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "300"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert rb"\udcff.pdf" in done.stdout
        assert not how or len(json.loads(done.stdout)["results"]) == 3


def test_bad_pages_and_warnings(small_pages: Path, tmp_path: Path) -> None:
    bad, lost, missing = tmp_path / "bad.pdf", tmp_path / "lost.pdf", tmp_path / "none.pdf"
    bad.write_bytes(five_pages("/MediaBox [0 0 10 3000]"))
    lost.write_bytes(LOST["Greek"])
    files = (bad, lost, missing, "--pages", "1-", "--bundle", small_pages, "--threads", "1")
    refused = ziprerank("rank", "invoice", *files)
    assert refused.returncode == 1
    assert "Error: candidate 2" in refused.stderr
    done = ziprerank("rank", "invoice", *files, "--on-bad-page", "skip", "--json")
    assert done.returncode == 0, done.stderr
    ranking = json.loads(done.stdout)
    assert [note["index"] for note in ranking["skipped"]] == [2, 6]
    assert [note["file"] for note in ranking["warnings"]] == [str(lost)]
    assert f"Warning: {lost} p. 1: text is missing" in done.stderr
    assert f"Skipped: {bad} p. 3: " in done.stderr
    assert f"Skipped: {missing}: no such file" in done.stderr
    drawn = ziprerank("explain", "invoice", *files, "--on-bad-page", "skip", "-o", tmp_path / "out.png")
    assert drawn.returncode == 0, drawn.stderr
    assert f"Skipped: {missing}: no such file" in drawn.stderr
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_the_command_line_says_how_to_give_a_password_here(
    small_pages: Path, tmp_path: Path, make_pdf: Callable[..., bytes]
) -> None:
    path = tmp_path / "locked.pdf"
    path.write_bytes(make_pdf(1, password="secret"))
    done = ziprerank("rank", "invoice", path, "--bundle", small_pages)
    assert done.returncode == 1
    assert "the PDF is encrypted: pass its password with --password" in done.stderr
    assert ziprerank("rank", "x", path, "--bundle", small_pages, "--password", "secret").returncode == 0


@pytest.mark.parametrize("command", ["rank", "plan", "explain"])
def test_a_page_that_is_skipped_is_named_in_one_way(
    small_pages: Path, sample: Path, tmp_path: Path, make_pdf: Callable[..., bytes], command: str
) -> None:
    path = tmp_path / "locked.pdf"
    path.write_bytes(make_pdf(1, password="secret"))
    query = ["--query", "fish"] if command == "plan" else ["fish"]
    options = ["-o", tmp_path / "out.png"] if command == "explain" else ["--json"]
    options += ["--bundle", small_pages, "--on-bad-page", "skip"]
    done = ziprerank(command, *query, sample, path, *options)
    assert done.returncode == 0, done.stderr
    told = f"{path}: the PDF is encrypted: pass its password with --password"
    assert done.stderr == f"Skipped: {told}\n"
    if command != "explain":
        (note,) = json.loads(done.stdout)["skipped"]
        assert note["text"] in told


def test_doctor_lists_the_scripts_that_are_drawn(small_pages: Path) -> None:
    done = ziprerank("doctor", "--bundle", small_pages, "--check", "size")
    assert done.returncode == 0, done.stdout
    in_pdfs, in_texts = [line for line in done.stdout.splitlines() if line.split()[:1] == ["drawn"]]
    assert "Latin" in in_pdfs
    assert "Latin; Greek; Cyrillic" in in_texts
    for script in ("Cyrillic", "Greek", "Hebrew", "Arabic", "Japanese", "Korean"):
        assert done.stdout.count(script) == 2
