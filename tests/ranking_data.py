"""A checkpoint and a few examples of both ranking stages."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from PIL import Image, ImageDraw
from pyarrow import parquet
from tiny_checkpoint import save_tiny_checkpoint
from ziprerank.train.data.mmdocir import unpack_pages, wanted_pages

WORDS = ("river", "budget", "orchard", "signal", "harbour", "ledger", "meadow", "engine", "lantern", "copper")


def write_ranking_data(root: Path) -> Path:
    """Writes a checkpoint with ZipRerank's own prompt, and data to train it on.

    The data are 6 conversations of 3 passages, and 6 queries on 4 pages: as rows of our own, and as in MMDocIR's files.
    """
    save_tiny_checkpoint(root / "model", layers=4)
    (root / "model" / "prompt.json").unlink()
    conversations = []
    for number in range(6):
        passages = "\n".join(f"[{k + 1}] The {WORDS[k]} of {WORDS[number]} {number}." for k in range(3))
        prompt = f"I will provide you with 3 passages, search query: {WORDS[number]}.\n\n{passages}\n\n"
        prompt += f"Search Query: {WORDS[number]}.\nRank the 3 passages above based on their relevance."
        turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": "[2] > [3] > [1]"}]
        conversations.append({"id": str(number), "conversations": turns})
    (root / "conversations.json").write_text(json.dumps(conversations))
    pages = []
    for number in range(4):
        page = Image.new("RGB", (200, 260), (250 - 50 * number,) * 3)
        ImageDraw.Draw(page).text((10, 10), WORDS[number], fill="black")
        page.save(root / f"{number}.png")
        pages.append(f"{number}.png")
    rows = [
        {"id": str(k), "query": WORDS[k], "document": "d", "pages": pages, "truths": [k % 4], "order": [3, 2, 1, 0]}
        for k in range(6)
    ]
    (root / "pages.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {
        "file_name": ["d"] * 4,
        "page": list(range(4)),
        "image": [(root / page).read_bytes() for page in pages],
    }
    parquet.write_table(pa.table(columns), root / "pages.parquet")
    rankings = [
        {
            "query_id": k,
            "query": WORDS[k],
            "doc_name": "d",
            "candidate_page_ids": [0, 1, 2, 3],
            "gt_page_ids": [k % 4],
            "openai_ranking": [3, 2, 1, 0],
            "ranked_page_ids": [3, 2, 1, 0],
        }
        for k in range(6)
    ]
    (root / "rankings.jsonl").write_text("\n".join(map(json.dumps, rankings)))
    unpack_pages([root / "pages.parquet"], root / "pages", wanted_pages(root / "rankings.jsonl"))
    return root
