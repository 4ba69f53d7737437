"""Writes bench/quality/queries.jsonl from the five documents and paraphrases.jsonl.

    python -m bench.quality.make DOCUMENTS [--out FILE]

Each document gets 9 queries of 2 to 8 words of each of the first three kinds, and all its paraphrases:

- `title`: the heading of a section that begins on the page, from the PDF's outline, without its number.
- `phrase`: consecutive words of a sentence of prose, from a content word to a content word.
- `keywords`: some of the 12 words with the highest tf-idf in the document, in random order; no two adjacent words of
  the query are adjacent on the page.
- `paraphrase`: what someone who wants this page may ask, partly in words that are not on it; written by hand from
  reading the page (paraphrases.jsonl).

A title or phrase that is also on another page is not used, nor are keywords that another page holds all of.
Paraphrases have no such check.
Contents, index and nearly empty pages are neither asked about nor ranked.
Licence texts, which other manuals print too, are ranked but not asked about.

The 20 candidates of a query are its page, up to 10 others at most 15 pages away, and others from anywhere in the
document, drawn at random and shuffled.
Everything is drawn with a fixed seed per document.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]
from ziprerank.first_stage.bm25 import SOFT_BREAK, words_of

from .documents import DOCUMENTS, located
from .queries import CANDIDATES, QUERIES, WORDS, Query, write_queries
from .text import Pages, is_content, sentences

PARAPHRASES = Path(__file__).with_name("paraphrases.jsonl")
PER_KIND = 9
SEED = 0
NEAR, NEAR_PAGES = 10, 15  # at most NEAR candidates at most NEAR_PAGES pages away
DISTINCTIVE = 12  # words of a page that its keywords are drawn from
MIN_PHRASE = 4  # words; shorter phrases are on many pages
TRIES = 8  # draws of words on one page

Asked = tuple[str, int]  # query, page


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.make", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("documents", type=Path, help="folder of the PDFs, see python -m bench.quality.fetch")
    parser.add_argument("--out", type=Path, default=QUERIES)
    options = parser.parse_args()
    paraphrases = read_paraphrases()
    queries = [
        query
        for document in DOCUMENTS
        for query in make(located(options.documents, document.name), paraphrases[document.name], document.licence)
    ]
    write_queries(options.out, queries)
    print(f"{options.out}: {len(queries)} queries, {dict(Counter(query.kind for query in queries))}")


def read_paraphrases(file: Path = PARAPHRASES) -> dict[str, list[Asked]]:
    """Returns (query, 0-based page) pairs by document."""
    asked: dict[str, list[Asked]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked.setdefault(row["document"], []).append((row["query"], row["page"]))
    return asked


def make(file: Path, paraphrases: list[Asked], licence: Collection[int] = (), per_kind: int = PER_KIND) -> list[Query]:
    """Makes all queries of one document, with kinds mixed.

    Args:
        file: the PDF.
        paraphrases: its hand-written queries.
        licence: 0-based pages that print a licence.
        per_kind: number of queries of each other kind.

    Raises:
        SystemExit: the document is too small.
    """
    pages = Pages.read(file, licence)
    if len(pages.candidates) < CANDIDATES:
        raise SystemExit(f"{file} has {len(pages.candidates)} pages with text, at least {CANDIDATES} are needed")
    rng = random.Random(f"{SEED} {file.name}")  # the same on every machine and version, unlike hash()
    asked = [("paraphrase", *entry) for entry in paraphrases]
    for kind, found in (
        ("title", titles(file, pages, rng)),
        ("phrase", phrases(pages, rng)),
        ("keywords", keywords(pages, rng)),
    ):
        taken = [entry for entry, _ in zip(found, range(per_kind), strict=False)]
        if len(taken) < per_kind:
            raise SystemExit(f"{file} gives {len(taken)} queries of kind {kind}, {per_kind} are needed")
        asked += [(kind, *entry) for entry in taken]
    rng.shuffle(asked)
    return [Query(file.name, query, kind, page, draw_candidates(pages, page, rng)) for kind, query, page in asked]


def titles(file: Path, pages: Pages, rng: random.Random) -> Iterator[Asked]:
    """Yields headings of the outline, at most one a page."""
    with pdfium.PdfDocument(file) as document:
        entries = [(entry.get_title(), entry.get_dest()) for entry in document.get_toc()]
        found = [(title, target.get_index()) for title, target in entries if target is not None]
    rng.shuffle(found)
    used: set[int] = set()
    for heading, page in found:
        title = re.sub(r"^((chapter|appendix|part|section)\s+)?[A-Z]?[\d.]+\s+", "", heading.strip(), flags=re.I)
        if (
            page in pages.targets
            and page not in used
            and len(title.split()) in WORDS
            and any(is_content(word) for word in words_of(title))
            and pages.holds_phrase(title, page)
            and not pages.phrase_elsewhere(title, page)
        ):
            used.add(page)
            yield " ".join(title.split()), page


def phrases(pages: Pages, rng: random.Random) -> Iterator[Asked]:
    """Yields consecutive words of prose, at most one phrase a page."""
    for page in rng.sample(pages.targets, len(pages.targets)):
        prose = sentences(pages.texts[page])
        for _ in range(TRIES if prose else 0):
            sentence = rng.choice(prose)
            length = rng.randint(MIN_PHRASE, WORDS[-1])
            start = rng.randint(0, max(0, len(sentence) - length))
            phrase = sentence[start : start + length]
            text = " ".join(phrase).rstrip(",.:;!?")
            if (
                len(phrase) == length
                and SOFT_BREAK not in text
                and re.fullmatch(r"[A-Za-z’' -]+", text)
                and is_content(phrase[0].lower())
                and is_content(text.rpartition(" ")[2])
                and pages.holds_phrase(text, page)
                and not pages.phrase_elsewhere(text, page)
            ):
                yield text, page
                break


def keywords(pages: Pages, rng: random.Random) -> Iterator[Asked]:
    """Yields distinctive words, at most one query a page."""
    spread = Counter(word for page in pages.candidates for word in set(pages.words[page]))
    for page in rng.sample(pages.targets, len(pages.targets)):
        counts = Counter(filter(is_content, pages.words[page]))
        weights = {
            word: (1 + math.log(count)) * math.log(len(pages.candidates) / spread[word])
            for word, count in counts.items()
        }
        best = sorted(weights, key=lambda word: (-weights[word], word))[:DISTINCTIVE]
        for _ in range(TRIES):
            length = rng.choice(WORDS)
            if length > len(best):
                continue
            chosen = rng.sample(best, length)
            pairs = (f"{left} {right}" for left, right in pairwise(chosen))
            query = " ".join(chosen)
            if not any(pages.holds_phrase(pair, page) for pair in pairs) and not pages.words_elsewhere(query, page):
                yield query, page
                break


def draw_candidates(pages: Pages, page: int, rng: random.Random) -> tuple[int, ...]:
    """Draws the candidates: the page and 19 others, as the module's docstring says."""
    near = [other for other in pages.candidates if other != page and abs(other - page) <= NEAR_PAGES]
    drawn = rng.sample(near, min(NEAR, len(near)))
    anywhere = [other for other in pages.candidates if other != page and other not in drawn]
    drawn = [page, *drawn, *rng.sample(anywhere, CANDIDATES - 1 - len(drawn))]
    rng.shuffle(drawn)
    return tuple(drawn)


if __name__ == "__main__":
    main()
