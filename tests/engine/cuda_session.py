"""A process of its own for one ONNX Runtime: ``python cuda_session.py BUNDLE LIBRARY PROVIDER [--pool ROWS]``.

Scores some windows and prints what came out as JSON: ``info``, and for each window its sizes, scores and kept tokens;
or, when the engine refuses, ``error``: the class and the text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine_helpers import make_pages, prompt_ids, score
from ziprerank import _engine
from ziprerank.errors import ZipRerankError

# Pages and keep ratio. In a pool of 320 rows, which the fifth window fills, its first page finds three single blocks.
WINDOWS = [([1], 1.0), ([0, 1, 2, 3], 0.5), ([3, 3], 0.3), ([4, 5, 0], 0.7), ([2, 0, 1, 3], 0.25), ([3], 0.01)]


def main(bundle: str, library: str, provider: str, pool_rows: int) -> dict[str, Any]:
    """Run `WINDOWS`."""
    row_bytes = 4 * 256 * 4  # levels x hidden size x float32
    try:
        engine = _engine.Engine(bundle, library, provider, pool_bytes=pool_rows * row_bytes)
        pages = make_pages()
        pages += [np.ascontiguousarray(pages[1][::-1]), np.ascontiguousarray(pages[3].swapaxes(0, 1))]
        windows = []
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
    except ZipRerankError as error:
        return {"error": [type(error).__name__, str(error)]}
    return {"info": engine.info, "windows": windows, "evictions": engine.pool["evictions"]}


if __name__ == "__main__":
    arguments = sys.argv[1:4]
    rows = int(sys.argv[5]) if sys.argv[4:5] == ["--pool"] else 4096
    found = main(*arguments, pool_rows=rows)  # the engine is gone before the result is printed
    sys.stdout.write(json.dumps(found) + "\n")
