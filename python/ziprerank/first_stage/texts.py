"""The texts of PDF pages, read once for each file and kept, and the BM25 indexes over them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias
from weakref import WeakKeyDictionary

from ziprerank.errors import PageError
from ziprerank.first_stage.bm25 import Index, words_of
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import TextFile, TextPlace, WarningPage
from ziprerank.inputs.workers.pool import Interrupt, check_interrupt
from ziprerank.runtime.threads import Workers

MOST_CHARACTERS = 64 << 20  # of all texts kept: about 20,000 dense pages
MOST_WORDS = 8 << 20  # of all indexes kept
_PAGE = 64  # characters, and words of an index, that a page counts for beside its own: one without any takes memory too
_AT_ONCE = 16  # pages that are read in one request
_MOST_ALONE = 4  # pages of a file that fail alone, each of which may take as long as a page may
_POLL_SECONDS = 0.1

_File = tuple[object, ...]
_Page = tuple[_File, int]
PageTexts: TypeAlias = dict[int, tuple[_Page, str] | None]
"""The text of each candidate by its index, with what names its page; None for one without."""
_Texts: TypeAlias = dict[int, str | None]
_Read: TypeAlias = Callable[[TextFile, Sequence[int]], list[str | None]]


class TextStore:
    """Keeps the texts of files that were read, the latest used ones, by their content and owner. Thread-safe.

    A page whose text cannot be read, since that takes too long, crashes its reader or is given up, counts as a page
    without text for as long as its file is open, and is read again when the file is opened the next time.
    """

    def __init__(self, most_characters: int = MOST_CHARACTERS, most_words: int = MOST_WORDS) -> None:
        """Keeps at most so many characters, and indexes over so many words, but always the latest of each.

        Each page counts for 64 of both beside its own.
        """
        self._most_characters = most_characters
        self._most_words = most_words
        self._files: OrderedDict[_File, _Texts] = OrderedDict()
        self._failed: WeakKeyDictionary[TextFile, set[int]] = WeakKeyDictionary()
        self._indexes: OrderedDict[tuple[_Page, ...], tuple[Index, int]] = OrderedDict()
        self._characters = self._words = 0  # counted as they come and go
        self._lock = threading.Lock()
        self.read = 0  # pages that were read from files so far

    def texts(
        self,
        sources: Sequence[PageSource],
        chosen: Sequence[int],
        owner: str = "",
        most_without: int | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> PageTexts | None:
        """Returns the text of each candidate in ``chosen``.

        Args:
            sources: All candidates.
            chosen: Indices of those whose texts are wanted.
            owner: Texts are found again by this owner alone.
            most_without: More candidates without text than this end the reading.
            waiting: Called after every few pages that are read, and about ten times a second meanwhile; may raise to
                end the reading, in the middle of a page too.

        Returns:
            The texts, or None if there are more than ``most_without`` candidates without.

        Raises:
            Interrupted: The ``Interrupt`` of this thread was set.
            WorkerError: No process can be started to read files in.
        """
        found: PageTexts = {}
        places: dict[_File, list[tuple[int, TextPlace]]] = {}
        for index in chosen:
            source = sources[index]
            place = source.text_place() if isinstance(source, WarningPage) else None
            key = None if place is None else place.file.identity()
            if place is None or key is None:
                found[index] = None
            else:
                places.setdefault((owner, *key), []).append((index, place))
        without = len(found)
        with _reading(waiting) as read:
            for key, wanted in places.items():
                file = wanted[0][1].file  # one for all of its pages, which knows those that failed
                for start in range(0, len(wanted), _AT_ONCE):
                    if most_without is not None and without > most_without:
                        return None
                    part = wanted[start : start + _AT_ONCE]
                    texts = self._read(key, file, [place.page for _, place in part], read, waiting)
                    for index, place in part:
                        text = texts.get(place.page)
                        found[index] = None if text is None else ((key, place.page), text)
                        without += text is None
        return None if most_without is not None and without > most_without else found

    def index(self, texts: Sequence[tuple[_Page, str]]) -> Index:
        """Returns BM25 over the texts, made anew or as it was made before."""
        key = tuple(page for page, _ in texts)
        with self._lock:
            if key in self._indexes:
                self._indexes.move_to_end(key)
                return self._indexes[key][0]
        words = [words_of(text) for _, text in texts]
        index = Index(words)
        with self._lock:
            if key not in self._indexes:  # another thread may have made it too
                size = sum(map(len, words)) + _PAGE * len(words)
                self._indexes[key] = index, size
                self._words += size
            while len(self._indexes) > 1 and self._words > self._most_words:
                self._words -= self._indexes.popitem(last=False)[1][1]
        return index

    def _read(
        self, key: _File, file: TextFile, pages: Sequence[int], read: _Read, waiting: Callable[[], None]
    ) -> _Texts:
        """Returns the texts of pages of one file, reading those that are neither kept nor known to fail."""
        with self._lock:
            kept = dict(self._files.get(key, {}))
            if key in self._files:
                self._files.move_to_end(key)
            failed = set(self._failed.get(file, ()))
        missing = sorted(set(pages) - kept.keys() - failed)
        if not missing:
            return kept
        found = _read_apart(file, missing, read, _MOST_ALONE - len(failed))
        with self._lock:
            if failed := set(missing) - found.keys():
                self._failed.setdefault(file, set()).update(failed)
            if found:
                held = self._files.setdefault(key, {})
                self._characters += _size(found) - _size({page: held[page] for page in found.keys() & held.keys()})
                held.update(found)
                self._files.move_to_end(key)
                self.read += len(found)
            while len(self._files) > 1 and self._characters > self._most_characters:
                self._characters -= _size(self._files.popitem(last=False)[1])
        waiting()
        return kept | found


def _read_apart(file: TextFile, pages: Sequence[int], read: _Read, most: int) -> _Texts:
    """Returns the texts of those pages that can be read, each alone where they cannot be read together.

    After ``most`` pages that failed alone the others count as failed too, so that a file of which many pages hang does
    not take their time twice.
    """
    try:
        return dict(zip(pages, read(file, pages), strict=True))
    except PageError:
        if len(pages) == 1:
            return {}
    found: _Texts = {}
    for page in pages:
        if most <= 0:
            break
        try:
            (found[page],) = read(file, [page])
        except PageError:
            most -= 1
    return found


@contextmanager
def _reading(waiting: Callable[[], None]) -> Iterator[_Read]:
    """Yields what reads texts in a thread, so that this one can end the reading meanwhile.

    Whatever ends it, Ctrl-C too, ends the request that a page worker has, and is raised once that has ended.
    """
    interrupt = Interrupt()

    def ask(file: TextFile, pages: Sequence[int]) -> list[str | None]:
        with interrupt.applied():
            return file.texts(pages)

    def look() -> None:
        check_interrupt()
        waiting()

    with Workers(1, "ziprerank-texts") as thread:

        def read(file: TextFile, pages: Sequence[int]) -> list[str | None]:
            asked = thread.submit(partial(ask, file, pages))
            while not thread.wait(asked, _POLL_SECONDS):
                look()
            try:
                return thread.result(asked)
            except PageError:
                look()  # who may have ended it
                raise

        try:
            yield read
        finally:
            interrupt.set()


def _size(pages: Mapping[int, str | None]) -> int:
    return sum(_PAGE + len(text or "") for text in pages.values())
