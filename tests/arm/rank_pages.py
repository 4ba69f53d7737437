"""Ranks four pages of the sample PDF and prints what came out as JSON: ``rank_pages.py SAMPLE.pdf``.

The processors' scores are compared by `emulate.py`, which runs this on both.
"""

from __future__ import annotations

import json
import platform
import sys

from ziprerank import Pdf, Reranker

QUERY = "dividend shareholders board directors"
PAGES = "2-4,16"  # the best page and others, so that the scores have a spread


def main(sample: str) -> None:
    # an emulated process cannot start another: what it would execute is a program for another processor
    with Reranker.from_bundle(page_workers="off") as reranker:
        ranking = reranker.rank(QUERY, Pdf(sample, pages=PAGES))
        found = {
            "machine": platform.machine(),
            "kernel": reranker.engine.info["prune_kernel"],
            "runtime": reranker.engine.info["runtime_version"],
            "scores": {page.label.rpartition(" ")[2]: page.score for page in ranking},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
