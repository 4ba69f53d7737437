"""Writes data sets with exactly the columns and types that their authors publish."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

DOMAINS = ("Academic paper", "News")


def page_image(text: str, kind: str = "JPEG", size: tuple[int, int] = (256, 256)) -> bytes:
    """A page with a few words on it."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((10, 10), text, fill="black", font_size=24)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_mmdocir(folder: Path, documents: Sequence[Mapping[str, Any]], **changes: Any) -> Path:
    """MMDocIR's two files.

    Args:
        folder: Made if it is missing.
        documents: Each with ``name``, ``domain``, ``pages`` (their texts) and ``questions`` of (text, page ids).
        changes: Pictures by ``DOCUMENT:PAGE`` that replace the drawn ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, lines = [], []
    for document in documents:
        name, first = document["name"], len(rows)
        for number, text in enumerate(document["pages"]):
            rows.append(
                {
                    "doc_name": name,
                    "domain": document["domain"],
                    "passage_id": str(number),
                    "image_path": f"page_images/{name}_{number}.jpg",
                    "image_binary": changes.get(f"{name}:{number}", page_image(text)),
                    "ocr_text": text,
                    "vlm_text": f"a page that says {text}",
                }
            )
        questions = [
            {"Q": text, "A": "['yes']", "page_id": pages, "type": "['Chart']", "layout_mapping": []}
            for text, pages in document["questions"]
        ]
        lines.append(
            {
                "doc_name": name,
                "domain": document["domain"],
                "page_indices": [first, len(rows) - 1],
                "layout_indices": [0, 0],
                "questions": questions,
            }
        )
    text = [pa.field(name, pa.string()) for name in ("doc_name", "domain", "passage_id", "image_path")]
    schema = pa.schema([*text, ("image_binary", pa.binary()), ("ocr_text", pa.string()), ("vlm_text", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "MMDocIR_pages.parquet")
    written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "MMDocIR_annotations.jsonl").write_text(written, encoding="utf-8")
    return folder


def write_vidore(
    folder: Path,
    corpus: Sequence[tuple[Any, Any]],
    queries: Sequence[tuple[Any, str, str]],
    qrels: Sequence[tuple[Any, Any, int]],
    *,
    hyphens: bool = False,
    struct: bool = True,
    top_ranked: Mapping[Any, Sequence[Any]] | None = None,
) -> Path:
    """ViDoRe's tables in the hub's folders.

    Args:
        folder: Made if it is missing.
        corpus: Id and bytes of each page.
        queries: Id, text and language.
        qrels: Query id, page id and grade.
        hyphens: Spells the columns as before v3, with ids of text; else ids are whole numbers.
        struct: Pictures are ``{bytes, path}`` as in Hugging Face's image columns; else plain bytes.
        top_ranked: Candidates of each query, as mteb has them.
    """
    dash = "-" if hyphens else "_"
    query, page = f"query{dash}id", f"corpus{dash}id"
    pictures = [{"bytes": data, "path": None} if struct else data for _, data in corpus]
    tables = {
        "corpus": {
            page: [name for name, _ in corpus],
            "image": pa.array(
                pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
            ),
            "doc_id": ["a"] * len(corpus),
            "markdown": [f"page {name}" for name, _ in corpus],
        },
        "queries": {
            query: [name for name, _, _ in queries],
            "query": [text for _, text, _ in queries],
            "language": [language for _, _, language in queries],
            "answer": [""] * len(queries),
        },
        "qrels": {
            query: [name for name, _, _ in qrels],
            page: [name for _, name, _ in qrels],
            "score": [grade for _, _, grade in qrels],
        },
    }
    if top_ranked is not None:
        tables["top_ranked"] = {
            "query-id": list(top_ranked),
            "corpus-ids": [list(pages) for pages in top_ranked.values()],
        }
    for name, columns in tables.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / name / "test-00000-of-00001.parquet")
    return folder
