"""Labelling: one row for each example, whatever stops it and wherever."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from chat_server import chat_server, completion, held, raw
from PIL import Image
from ziprerank.train.data.examples import (
    ListwiseExample,
    PageExample,
    PageRef,
    page_row,
    read_listwise,
    read_pages,
)
from ziprerank.train.errors import TrainError
from ziprerank.train.teachers.base import Candidate
from ziprerank.train.teachers.bm25 import Bm25
from ziprerank.train.teachers.endpoint import Patience
from ziprerank.train.teachers.label import label, page_candidates, passage_candidates
from ziprerank.train.teachers.vlm import Vlm, VlmSettings


class Longest:
    """A teacher that likes long passages; keeps what it was asked, waits a moment, fails where told to."""

    def __init__(self, fails: Sequence[str] = (), pause: float = 0.0) -> None:
        self.fails = set(fails)
        self.pause = pause
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        with self._lock:
            self.asked.append(query)
        time.sleep(self.pause * random.random())
        if query in self.fails:
            raise TrainError("does not like it")
        return tuple(sorted(range(len(candidates)), key=lambda k: -len(candidates[k].text or "")))


def _examples(count: int) -> list[ListwiseExample]:
    rng = random.Random(count)
    return [
        ListwiseExample(f"q{k}", tuple("x" * length for length in rng.sample(range(1, 90), 5)), (), f"id{k}")
        for k in range(count)
    ]


def _wanted(example: ListwiseExample) -> ListwiseExample:
    order = sorted(range(5), key=lambda k: len(example.passages[k]), reverse=True)
    return ListwiseExample(example.query, example.passages, tuple(order), example.id)


@pytest.mark.parametrize("workers", [1, 4])
def test_rows_are_in_order_and_asked_for_once(tmp_path: Path, workers: int) -> None:
    examples, out, teacher = _examples(20), tmp_path / "a.jsonl", Longest(pause=0.01)
    first = label(examples[:12], teacher, out, passage_candidates, workers=workers)
    assert (first.written, first.present, first.skipped) == (12, 0, 0)
    second = label(examples, teacher, out, passage_candidates, workers=workers)
    assert (second.written, second.present) == (8, 12)
    assert list(read_listwise(out)) == [_wanted(example) for example in examples]
    assert sorted(teacher.asked) == sorted(example.query for example in examples)
    before = out.read_bytes()
    assert label(reversed(examples), teacher, out, passage_candidates).written == 0
    assert out.read_bytes() == before


def test_any_torn_end_is_mended(tmp_path: Path) -> None:
    examples, out = _examples(4), tmp_path / "a.jsonl"
    label(examples, Longest(), out, passage_candidates)
    whole = out.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(0, len(whole), 13):
        out.write_bytes(whole[:length])
        done = label(examples, Longest(), out, passage_candidates)
        assert done.present == sum(end <= length for end in ends)
        assert out.read_bytes() == whole


def test_examples_that_occur_twice_get_two_rows_and_an_old_order_does_not_matter(tmp_path: Path) -> None:
    (example,), out, teacher = _examples(1), tmp_path / "a.jsonl", Longest()
    old = ListwiseExample(example.query, example.passages, (0, 1), example.id)
    assert label([example, old, example], teacher, out, passage_candidates).written == 3
    assert label([old, example, example, example], teacher, out, passage_candidates).written == 1
    assert list(read_listwise(out)) == [_wanted(example)] * 4


@pytest.mark.parametrize("workers", [1, 4])
def test_faults_are_raised_or_skipped_when_asked_to(tmp_path: Path, workers: int) -> None:
    examples, out = _examples(12), tmp_path / "a.jsonl"
    with pytest.raises(TrainError, match="example id5: does not like it"):
        label(examples, Longest(["q5"]), out, passage_candidates, workers=workers)
    written = [example.id for example in read_listwise(out)]
    assert written[:5] == [f"id{k}" for k in range(5)]
    assert "id5" not in written
    faults: list[TrainError] = []
    done = label(examples, Longest(["q5", "q7"]), out, passage_candidates, workers=workers, faults=faults.append)
    assert done.skipped == len(faults) >= 1
    label(examples, Longest(), out, passage_candidates, workers=workers)
    assert Counter(example.id for example in read_listwise(out)) == Counter(example.id for example in examples)


def test_an_interrupt_leaves_whole_rows(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"

    def stream() -> object:
        yield from _examples(10)[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(stream(), Longest(), out, passage_candidates, workers=2)  # type: ignore[type-var]
    rows = list(read_listwise(out))
    assert rows == [_wanted(example) for example in _examples(10)[: len(rows)]]
    label(_examples(10), Longest(), out, passage_candidates)
    assert list(read_listwise(out)) == [_wanted(example) for example in _examples(10)]


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text('{"notes": 1}\nnot finished')
    with pytest.raises(TrainError, match="row 1 is no labelled example"):
        label(_examples(1), Longest(), out, passage_candidates)
    assert out.read_text() == '{"notes": 1}\nnot finished'
    with pytest.raises(TrainError, match="cannot be written"):
        label(_examples(1), Longest(), tmp_path / "absent" / "a.jsonl", passage_candidates)


def test_a_full_disk_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    """A limit on the size of files does to ``write`` what a full disk does: some of it is taken, then nothing."""
    resource = pytest.importorskip("resource")
    examples, out = _examples(6), tmp_path / "a.jsonl"
    label(examples, Longest(), tmp_path / "whole.jsonl", passage_candidates)
    whole = (tmp_path / "whole.jsonl").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (len(whole) // 2, len(whole) // 2 - 100):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(TrainError, match=r"make room on the disk|File too large"):
                label(examples, Longest(), out, passage_candidates)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    label(examples, Longest(), out, passage_candidates)
    assert out.read_bytes() == whole


def test_pages_by_image_and_by_text(tmp_path: Path) -> None:
    texts = ["the cat sat", "stock prices fell", "a cat and another cat"]
    refs = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 20, 3), 80 * number, dtype=np.uint8)).save(path)
        refs.append(PageRef(path))
    example = PageExample("cat", "doc", tuple(refs), (2,), (), "x")
    text = page_candidates(text=lambda ref: texts[int(ref.path.stem)])
    label([example], Bm25(), tmp_path / "bm25.jsonl", text)
    (got,) = read_pages(tmp_path / "bm25.jsonl")
    assert got == PageExample("cat", "doc", tuple(refs), (2,), (2, 0, 1), "x")
    with pytest.raises(TrainError, match="example x: candidate 0 has no text"):
        label([example], Bm25(), tmp_path / "none.jsonl", page_candidates())
    inside = PageExample("cat", "doc", (PageRef(tmp_path / "a.pdf", 0), refs[0]), (), (), "y")
    seen = page_candidates()(inside)
    assert [candidate.image for candidate in seen] == [None, refs[0].path]
    shown = page_candidates(image=lambda ref: f"{ref.path.name} {ref.page}".encode())(inside)
    assert [candidate.image for candidate in shown] == [b"a.pdf 0", b"0.png None"]


def _page_examples(folder: Path, count: int) -> list[PageExample]:
    refs = []
    for number in range(3):
        path = folder / f"{number}.png"
        Image.fromarray(np.full((20, 20, 3), 80 * number, dtype=np.uint8)).save(path)
        refs.append(PageRef(path))
    return [PageExample(f"question {k}", "doc", tuple(refs), (0,), (), f"id{k}") for k in range(count)]


def test_an_unreachable_teacher_ends_the_run_and_the_next_one_asks_only_for_the_rest(tmp_path: Path) -> None:
    examples, out = _page_examples(tmp_path, 8), tmp_path / "a.jsonl"
    good = completion("[C] > [A] > [B]", 100, 10)
    with chat_server(*[good] * 5, default=raw(500, b"down")) as chat:
        settings = VlmSettings("m", tmp_path / "cache", chat.url, None, 1.0, patience=Patience(tries=2))
        teacher = Vlm(settings, sleep=[].append)
        with pytest.raises(TrainError, match=r"example id5: .* gave up after 2 tries"):
            label(examples, teacher, out, page_candidates())
        assert len(list(read_pages(out))) == 5
        chat.default = good
        before = len(chat.requests)
        done = label(examples, teacher, out, page_candidates(), workers=teacher.concurrency)
        assert (done.written, done.present, len(chat.requests) - before) == (3, 5, 3)
        out.unlink()
        label(examples, teacher, out, page_candidates())  # the rows are gone, the answers are not
        assert len(chat.requests) - before == 3
        assert teacher.usage.cost == pytest.approx(8 * 100 * 1e-6)
    assert [(example.id, example.order) for example in read_pages(out)] == [(f"id{k}", (2, 0, 1)) for k in range(8)]


PROGRAM = """
import sys
from pathlib import Path
from ziprerank.train.data.examples import read_pages
from ziprerank.train.teachers.label import label, page_candidates
from ziprerank.train.teachers.vlm import Vlm, VlmSettings
url, folder = sys.argv[1], Path(sys.argv[2])
teacher = Vlm(VlmSettings("m", folder / "cache", url, None, concurrency=2))
label(read_pages(folder / "in.jsonl"), teacher, folder / "out.jsonl", page_candidates(), workers=2)
"""


def test_a_killed_run_goes_on_without_asking_again(tmp_path: Path) -> None:
    """``kill -9`` in the middle of real requests: only those under way are asked again, and no row is double."""
    examples = _page_examples(tmp_path, 12)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(page_row(example)) + "\n" for example in examples))
    good, release = completion("[B] > [A] > [C]"), threading.Event()
    with chat_server(*[good] * 6, default=held(release, good)) as chat:
        command = [sys.executable, "-c", PROGRAM, chat.url, str(tmp_path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment)
        while len(chat.requests) < 8:  # two that are not answered
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        release.set()
        subprocess.run(command, env=environment, check=True)
        asked = Counter(request["messages"][0]["content"][0]["text"] for request in chat.requests)
    assert len(asked) == 12
    assert asked.total() == 12 + 2
    assert [(e.id, e.order) for e in read_pages(tmp_path / "out.jsonl")] == [(f"id{k}", (1, 0, 2)) for k in range(12)]
