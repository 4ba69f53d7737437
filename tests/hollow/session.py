"""A process on the hollow GPU that ranks random pages: ``python session.py BUNDLE STEPS``, both as JSON.

Prints what came out as JSON. ``info`` is the engine's; ``steps`` has for each step ``scores``, ``kept`` and ``tokens``
of each page, ``text`` tokens, ``windows``, and ``pinned_rows`` of the pool afterwards; or ``error``: the class and the
text, which also stands alone where the engine does not load.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ziprerank.bundle import Bundle
from ziprerank.errors import ZipRerankError
from ziprerank.reranker import Reranker
from ziprerank.runtime import engine
from ziprerank.runtime.engine import EngineOptions, load_engine

from hollow.control import mark


def main(bundle: str, request: dict[str, Any]) -> dict[str, Any]:
    """Loads the bundle and carries out the steps of ``request``."""
    mark("load")
    if disguise := os.environ.get("HOLLOW_DISGUISE"):  # c/onnxruntime.c
        runtime = replace(engine.find_runtime(), library=Path(disguise))
        engine.find_runtime = lambda: runtime  # type: ignore[assignment]
    options = EngineOptions(bundle, **{"provider": "cuda", "blank": "keep", **request["options"]})
    try:
        if request["profile"]:
            loaded = Bundle.load(bundle, check=options.check)
            reranker = Reranker(loaded, load_engine(loaded, options, profile=request["profile"]))
        else:
            reranker = Reranker.from_options(options)
    except ZipRerankError as error:
        return {"error": [type(error).__name__, str(error)]}
    mark("loaded")
    steps = []
    for number, step in enumerate(request["steps"]):
        pages = [_page(size, seed) for size, seed in zip(step["sizes"], step["seeds"], strict=True)]
        mark(f"step {number}")
        try:
            ranking = reranker.rank(step["query"], pages, keep_ratio=step["keep"], window=step["window"])
        except ZipRerankError as error:
            steps.append({"error": [type(error).__name__, str(error)]})
            continue
        finally:
            mark("between")
        found = sorted(ranking, key=lambda page: page.index)
        tokens = ranking.tokens
        steps.append(
            {
                "scores": [page.score for page in found],
                "kept": [list(page.kept) for page in found],
                "tokens": [page.tokens for page in found],
                "text": tokens.text,
                "windows": ranking.windows,
                "pinned_rows": reranker.engine.pool["pinned_rows"],
            }
        )
    mark("end")
    return {"info": reranker.engine.info, "steps": steps}


def _page(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))) + "\n")
