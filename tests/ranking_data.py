"""A checkpoint and a few examples of both ranking stages."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw
from tiny_checkpoint import save_tiny_checkpoint

WORDS = ("river", "budget", "orchard", "signal", "harbour", "ledger", "meadow", "engine", "lantern", "copper")


def write_ranking_data(root: Path) -> Path:
    """A checkpoint with ZipRerank's own prompt, 6 conversations of 3 passages, and 6 queries on 4 pages."""
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
    return root
