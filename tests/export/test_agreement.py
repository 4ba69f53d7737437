"""The agreement report: its arithmetic against plain Python, and what `ziprerank verify` writes into a bundle."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from checkpoints import Shape
from typer.testing import CliRunner
from ziprerank import Reranker
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.export import ExportError, ExportOptions, export_checkpoint
from ziprerank.export.agreement import Judged, check_comparable, compare, kendall_tau
from ziprerank.export.samples import SIZES, page_image

SAMPLE = Path(__file__).parents[2] / "python/examples/sample.pdf"


def plain_tau(first: list[float], second: list[float]) -> float:
    """Concordant minus discordant pairs, divided by the geometric mean of the numbers of untied pairs in each list."""
    concordant = discordant = ordered_first = ordered_second = 0
    for i, j in combinations(range(len(first)), 2):
        a, b = first[i] - first[j], second[i] - second[j]
        concordant += a * b > 0
        discordant += a * b < 0
        ordered_first += a != 0
        ordered_second += b != 0
    return (concordant - discordant) / (ordered_first * ordered_second) ** 0.5


def test_kendalls_tau() -> None:
    rng = np.random.default_rng(0)
    for length in (2, 3, 7, 20):
        for _ in range(20):
            first, second = rng.integers(0, 12, length).astype(float), rng.standard_normal(length)
            if np.ptp(first):
                assert kendall_tau(first, second) == pytest.approx(plain_tau(first.tolist(), second.tolist()))
    scores = np.array([0.3, -1, 2, 5])
    assert kendall_tau(scores, 2 * scores + 1) == 1
    assert kendall_tau(scores, -scores) == -1
    assert kendall_tau(scores, np.zeros(4)) == 0


def test_a_row_of_the_report() -> None:
    def judged(scores: list[float], *kept: set[int]) -> Judged:
        return Judged(np.array(scores), tuple(map(frozenset, kept)))

    reference = [judged([3, 1, 2], {0, 1}, {4, 5}, {8, 9}), judged([0, 4], {0, 1}, {2, 3})]
    candidate = [judged([2.5, 2, 1], {0, 1}, {4, 6}, {8, 9}), judged([0.5, 4], {0, 1}, {2, 3})]
    row = compare("some", 0.5, reference, candidate)
    assert (row.pages, row.keep_ratio, row.passes, row.candidates) == ("some", 0.5, 2, 3)
    assert row.kendall_tau == pytest.approx((1 / 3 + 1) / 2)  # one of three pairs is turned round
    assert row.lowest_tau == pytest.approx(1 / 3)
    assert row.top1 == 1
    assert row.max_logit_error == 1
    assert row.relative_logit_error == pytest.approx(1 / 2)  # of the first pass, whose logits spread over 2
    assert row.kept_overlap == pytest.approx((1 + 1 / 2 + 1 + 1 + 1) / 5)
    turned = compare("some", 0.5, reference, [candidate[0], judged([4, 0], {0, 1}, {2, 3})])
    assert (turned.top1, turned.lowest_tau) == (0.5, -1)


@pytest.mark.parametrize("scores", [[1.0], [2.0, 2.0]])
def test_pages_without_an_order_are_refused(scores: list[float]) -> None:
    judged = [Judged(np.array(scores), tuple(frozenset({0}) for _ in scores))]
    with pytest.raises(ExportError, match=f"{len(scores)} pages without an order"):
        compare("some", 1.0, judged, judged)


@pytest.fixture(scope="module")
def bundles(make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("bundles"), str(make_checkpoint(Shape()))
    options = {"fp32": {}, "int4": {"precision": "int4"}, "other sizes": {"longest_side": 512}}
    return {
        name: export_checkpoint(checkpoint, folder / name, ExportOptions(**{"longest_side": 256, **chosen}))
        for name, chosen in options.items()
    }


def test_the_report_is_what_the_engine_ranks(bundles: dict[str, Path]) -> None:
    query = ["annual meeting", "dividends"]
    arguments = ["verify", str(bundles["int4"]), str(bundles["fp32"]), "--on", str(SAMPLE), "--json"]
    done = CliRunner().invoke(app, [*arguments, *(part for text in query for part in ("--query", text))])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report == json.loads((bundles["int4"] / "ziprerank.json").read_text())["agreement"]
    assert report["precision"] == "int4"
    assert report["reference"] == Bundle.load(bundles["fp32"]).bundle_id
    sets = [(row["pages"], row["keep_ratio"]) for row in report["rows"]]
    assert sets == [("random", 1.0), ("random", 0.5), ("sample.pdf", 1.0), ("sample.pdf", 0.5)]

    pages = [page_image(number, SIZES[number % len(SIZES)]) for number in range(20)]
    row = report["rows"][1]
    assert (row["passes"], row["candidates"]) == (2, 20)
    ours, theirs = (Reranker.from_bundle(bundles[name]).rank_many(query, pages) for name in ("fp32", "int4"))
    taus, tops, errors, overlaps = [], [], [], []
    for first, second in zip(ours, theirs, strict=True):
        a, b = {page.index: page for page in first}, {page.index: page for page in second}
        taus.append(plain_tau([a[i].score for i in range(20)], [b[i].score for i in range(20)]))
        tops.append(first.results[0].index == second.results[0].index)
        errors.append(max(abs(a[i].score - b[i].score) for i in range(20)))
        overlaps += [len(set(a[i].kept) & set(b[i].kept)) / len(a[i].kept) for i in range(20)]
    assert row["kendall_tau"] == pytest.approx(sum(taus) / 2, rel=1e-3)
    assert row["top1"] == sum(tops) / 2
    assert row["max_logit_error"] == pytest.approx(max(errors), rel=1e-3)
    assert row["kept_overlap"] == pytest.approx(sum(overlaps) / 40, rel=1e-3)
    assert row["max_logit_error"] > 0


def test_a_bundle_agrees_with_itself(bundles: dict[str, Path]) -> None:
    done = CliRunner().invoke(app, ["verify", str(bundles["fp32"]), str(bundles["fp32"])])
    assert done.exit_code == 0, done.output
    assert "fp32: agreement with fp32" in done.output
    rows = json.loads((bundles["fp32"] / "ziprerank.json").read_text())["agreement"]["rows"]
    for row in rows:
        assert (row["kendall_tau"], row["top1"], row["max_logit_error"], row["kept_overlap"]) == (1, 1, 0, 1)


def test_what_cannot_be_compared_is_refused(bundles: dict[str, Path], make_checkpoint) -> None:
    with pytest.raises(ExportError, match="computes in int4: rankings are compared with those of a bundle in fp32"):
        check_comparable(bundles["fp32"], bundles["int4"])
    with pytest.raises(ExportError, match="differ in image: export both from one checkpoint"):
        check_comparable(bundles["int4"], bundles["other sizes"])
    for arguments, message in (
        ([str(bundles["fp32"]), "--on", str(SAMPLE)], "no query for the pages of --on"),
        ([str(make_checkpoint(Shape())), "--query", "x"], "--on and --query are for comparing rankings"),
        ([str(make_checkpoint(Shape()))], "int4: only fp32 reaches parity within 0.001"),
    ):
        done = CliRunner().invoke(app, ["verify", str(bundles["int4"]), *arguments])
        assert done.exit_code == 1
        assert message in done.output
