"""Labels examples with a teacher's orders into a file of JSON lines: resumable, exactly one row for each example."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ziprerank.train.data.examples import ListwiseExample, PageExample, PageRef, listwise_row, page_row
from ziprerank.train.data.rows import Faults
from ziprerank.train.errors import TrainError

from .base import Candidate, Teacher

Example = TypeVar("Example", ListwiseExample, PageExample)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What one call of `label` did."""

    written: int
    present: int
    """examples whose row was there already"""
    skipped: int
    """examples with a fault, told to ``faults``"""


def passage_candidates(example: ListwiseExample) -> tuple[Candidate, ...]:
    """The passages as text."""
    return tuple(Candidate(text=passage) for passage in example.passages)


def page_candidates(
    image: Callable[[PageRef], Path | bytes] | None = None, text: Callable[[PageRef], str] | None = None
) -> Callable[[PageExample], tuple[Candidate, ...]]:
    """What of a page a teacher gets to see.

    Args:
        image: the picture of a page; None gives the files of pages that are images, and none for pages of PDFs.
        text: the text of a page, from the PDF or an OCR; None gives none.
    """

    def see(ref: PageRef) -> Candidate:
        picture = image(ref) if image is not None else ref.path if ref.page is None else None
        return Candidate(text=None if text is None else text(ref), image=picture)

    return lambda example: tuple(see(ref) for ref in example.pages)


def label(
    examples: Iterable[Example],
    teacher: Teacher,
    out: Path,
    candidates: Callable[[Example], Sequence[Candidate]],
    *,
    workers: int = 1,
    faults: Faults | None = None,
) -> Labelled:
    """Write each example with the teacher's order to ``out``, in the order of ``examples``.

    Rows are those of `listwise_row` and `page_row` with one more field, ``digest``, by which a later call knows what is
    there: it goes on where an earlier one was stopped, at whatever point, and asks for nothing twice. An example that
    occurs twice gets two rows. Rows of examples that are no longer given stay.

    Args:
        examples: streamed; their own orders are ignored, and at most ``2 * workers`` are in memory.
        candidates: what the teacher sees of an example, see `passage_candidates` and `page_candidates`; called in this
            thread only, because PDF libraries do not like several.
        workers: threads that call the teacher.
        faults: called with the error of each example that the teacher or ``candidates`` fails on, which then gets no
            row; without it the error is raised, once what the other threads were asking for is written.

    Raises:
        TrainError: as above, or the file cannot be written, or holds a row that is not of this function.
    """
    if workers < 1:
        raise TrainError(f"workers is {workers}: use at least 1")
    done = _rows_in(out)
    written = present = skipped = 0
    waiting: deque[tuple[Example, str, Future[tuple[int, ...]]]] = deque()
    failure: TrainError | None = None
    with _opened(out) as file, ThreadPoolExecutor(workers, thread_name_prefix="teacher") as pool:

        def finish() -> None:
            nonlocal written, skipped, failure
            example, digest, future = waiting.popleft()
            try:
                row = _row(example, future.result(), digest)
            except TrainError as error:
                fault = TrainError(f"example {example.id or repr(example.query)[:80]}: {error}")
                if faults is None:
                    failure = failure or fault
                else:
                    skipped += 1
                    faults(fault)
                return
            _append(file, out, row)
            written += 1

        try:
            for example in examples:
                digest = _digest(example)
                if done[digest]:
                    done[digest] -= 1
                    present += 1
                    continue
                waiting.append((example, digest, _asked(pool, teacher, example, candidates)))
                while waiting and (len(waiting) >= 2 * workers or waiting[0][2].done()):
                    finish()
                if failure is not None:
                    waiting = deque(item for item in waiting if not item[2].cancel())
                    break
            while waiting:
                finish()
        finally:  # another error, or an interrupt: what has not begun does not begin
            for _, _, future in waiting:
                future.cancel()
    if failure is not None:
        raise failure
    return Labelled(written, present, skipped)


def _asked(
    pool: ThreadPoolExecutor, teacher: Teacher, example: Example, candidates: Callable[[Example], Sequence[Candidate]]
) -> Future[tuple[int, ...]]:
    try:
        seen = candidates(example)
    except TrainError as error:
        failed: Future[tuple[int, ...]] = Future()
        failed.set_exception(error)
        return failed
    return pool.submit(teacher.order, example.query, seen)


def _plain(example: ListwiseExample | PageExample) -> dict[str, Any]:
    return page_row(example) if isinstance(example, PageExample) else listwise_row(example)


def _row(example: Example, order: tuple[int, ...], digest: str) -> dict[str, Any]:
    return {**_plain(replace(example, order=order)), "digest": digest}


def _digest(example: ListwiseExample | PageExample) -> str:
    """Of all of an example but its order."""
    row = _plain(example)
    del row["order"]
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def _rows_in(out: Path) -> Counter[str]:
    """Digests of the rows in ``out``. A last line without its end, which a stop in the middle leaves, is cut off."""
    done: Counter[str] = Counter()
    if not out.exists():
        return done
    try:
        with out.open("r+b") as file:
            whole = 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    done[json.loads(line)["digest"]] += 1
                except (ValueError, KeyError, TypeError) as error:
                    raise TrainError(f"{out} row {number} is no labelled example: use another file") from error
                whole += len(line)
            file.truncate(whole)
    except OSError as error:
        raise TrainError(f"{out} cannot be read: {error.strerror}") from error
    return done


@contextlib.contextmanager
def _opened(out: Path) -> Iterator[Any]:
    try:
        file = out.open("ab", buffering=0)  # a row reaches the system whole, in one write
    except OSError as error:
        raise TrainError(f"{out} cannot be written: {error.strerror}") from error
    with file:
        yield file


def _append(file: Any, out: Path, row: dict[str, Any]) -> None:
    data = (json.dumps(row) + "\n").encode()
    try:
        wrote = file.write(data)
    except OSError as error:
        raise TrainError(f"{out} cannot be written: {error.strerror}; run again to go on") from error
    if wrote != len(data):
        raise TrainError(f"{out} took {wrote} of {len(data)} bytes: make room on the disk and run again to go on")
