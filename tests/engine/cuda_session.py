"""A process of its own for one ONNX Runtime: ``python cuda_session.py BUNDLE LIBRARY PROVIDER [OPTIONS]``.

Scores some windows and prints what came out as JSON: ``info``, and for each window its sizes, scores and kept tokens;
or, when the engine refuses, ``error``: the class and the text. With ``--restore`` a second engine scores the same
windows from the page features of the first: ``restored``, the scores of each window.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine_helpers import Pages, make_pages, prompt_ids, score
from ziprerank import _engine
from ziprerank.errors import ZipRerankError

# Pages and keep ratio. In a pool of 320 rows, which the fifth window fills, its first page finds three single blocks.
WINDOWS = [([1], 1.0), ([0, 1, 2, 3], 0.5), ([3, 3], 0.3), ([4, 5, 0], 0.7), ([2, 0, 1, 3], 0.25), ([3], 0.01)]


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run `WINDOWS`."""
    row_bytes = 4 * 256 * 4  # levels x hidden size x float32
    places = {"provider_library": options.provider_library, "cache": options.cache}

    def engine_of(rows: int) -> _engine.Engine:
        pool = rows * row_bytes
        return _engine.Engine(options.bundle, options.library, provider=options.provider, pool_bytes=pool, **places)

    try:
        engine = engine_of(options.pool)
        pages = make_pages()
        pages += [np.ascontiguousarray(pages[1][::-1]), np.ascontiguousarray(pages[3].swapaxes(0, 1))]
        windows, features = [], {}
        for seed, (indices, ratio) in enumerate(WINDOWS):
            ids = prompt_ids(engine.info, len(indices), seed)
            result = score(engine, [pages[i] for i in indices], ids, ratio)
            windows.append(
                {
                    "text": result.text_tokens,
                    "visual": result.visual_tokens,
                    "pages": len(indices),
                    "scores": [float(value) for value in result.scores],
                    "kept": [part.tolist() for part in result.kept],
                }
            )
        if options.restore:
            for index, page in enumerate(pages):
                window = engine.window([page.shape[:2]])
                window.encode(0, page)
                features[index] = np.empty((page.shape[0] * page.shape[1] // 1024, row_bytes), np.uint8)
                window.features(0, features[index])
                window.close()
            other = engine_of(320)
            return {"windows": windows, "restored": [restored(other, pages, features, *each) for each in WINDOWS]}
    except ZipRerankError as error:
        return {"error": [type(error).__name__, str(error)]}
    return {"info": engine.info, "windows": windows, "evictions": engine.pool["evictions"]}


def restored(
    engine: _engine.Engine, pages: Pages, features: dict[int, NDArray[np.uint8]], indices: list[int], ratio: float
) -> list[float]:
    """The scores of a window that takes its pages from the pool or from `features`."""
    window = engine.window([pages[i].shape[:2] for i in indices])
    for slot, i in enumerate(indices):
        if not window.find(slot, pages[i]):
            window.restore(slot, pages[i], features[i])
    ids = prompt_ids(engine.info, len(indices), WINDOWS.index((indices, ratio)))
    scores = window.score(ids, None, ratio).scores
    window.close()
    return [float(value) for value in scores]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("bundle", "library", "provider"):
        parser.add_argument(name)
    for name in ("--provider-library", "--cache"):
        parser.add_argument(name, default="")
    parser.add_argument("--pool", type=int, default=4096)
    parser.add_argument("--restore", action="store_true")
    found = main(parser.parse_args())  # the engine is gone before the result is printed
    sys.stdout.write(json.dumps(found) + "\n")
