"""Rendered pages with their text, on disk: what reading and ranking on real pages are trained on.

A store is a folder: ``pixels.bin`` (grey pages one after the other), ``pages.npz`` (sizes, offsets; tokens and
characters with their boxes, all pages' in one array, not compressed) and ``pages.jsonl`` (source, page number, words).
All of it is memory-mapped, so that several tasks and processes may have it open.
"""

from __future__ import annotations

import argparse
import json
import mmap
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer
from ziprerank.bundle import default_bundle
from ziprerank.train.errors import TrainError

from .pdf_text import Word, render, words

MULTIPLE = 32
"""Sides of a page in px are multiples of this: one visual token covers 32 x 32 px."""


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page with the places of its text.

    ``pixels [h, w]`` are uint8 grey; ``tokens [m]`` int32 have ``boxes [m, 4]`` f32 px and the ``word [m]`` that each
    belongs to; ``characters [c]`` are uint8 (ASCII, 0 for any other), with boxes.
    """

    document: str
    number: int
    words: list[str]
    pixels: NDArray[np.uint8]
    tokens: NDArray[np.int32]
    token_boxes: NDArray[np.float32]
    token_words: NDArray[np.int32]
    characters: NDArray[np.uint8]
    character_boxes: NDArray[np.float32]


class WordTokens:
    """Tokens of a lower-case word after a space, and which characters each covers; every word is tokenised once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[tuple[int, int, int]]] = {}

    def __call__(self, word: str) -> list[tuple[int, int, int]]:
        """(token, first character, end) of each token; a token that covers only the space is left out."""
        lower = word.lower()
        if len(lower) != len(word):  # a few letters grow in lower case and would no longer match their boxes
            lower = word
        if lower not in self._known:
            encoded = self._tokenizer.encode(" " + lower, add_special_tokens=False)
            spans = zip(encoded.ids, encoded.offsets, strict=True)
            self._known[lower] = [(token, max(a - 1, 0), b - 1) for token, (a, b) in spans if b > 1]
        return self._known[lower]


class PageStore:
    """Read side of a store; ``store[i]`` is a StoredPage whose pixels are a view of the file."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "pages.npz").is_file():
            raise TrainError(f"{folder} holds no page store: make one with python -m ziprerank.train.data.page_store")
        self._arrays = _map_arrays(folder / "pages.npz")
        self._pixels = np.asarray(np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r"))
        with (folder / "pages.jsonl").open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._line_starts = [0]
        self._names: list[str] = []
        self.documents: dict[str, list[int]] = {}
        """indices of each document's pages"""
        for line in iter(self._lines.readline, b""):
            name = json.loads(line)["document"]
            self.documents.setdefault(name, []).append(len(self._names))
            self._names.append(name)
            self._line_starts.append(self._line_starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._names)

    def document(self, index: int) -> str:
        """Name of the page's document."""
        return self._names[index]

    def words(self, index: int) -> list[str]:
        """The page's words in reading order."""
        return list(self._text(index)["words"])

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) px."""
        height, width = self._arrays["sizes"][index]
        return int(height), int(width)

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """Tokens of all pages, ``[m]``."""
        return self._arrays["tokens"]

    def __getitem__(self, index: int) -> StoredPage:
        arrays, text = self._arrays, self._text(index)
        height, width = (int(side) for side in arrays["sizes"][index])
        start = int(arrays["pixel_starts"][index])
        tokens = slice(*arrays["token_starts"][index : index + 2])
        characters = slice(*arrays["character_starts"][index : index + 2])
        return StoredPage(
            document=text["document"],
            number=text["number"],
            words=text["words"],
            pixels=self._pixels[start : start + height * width].reshape(height, width),
            tokens=arrays["tokens"][tokens],
            token_boxes=arrays["token_boxes"][tokens],
            token_words=arrays["token_words"][tokens],
            characters=arrays["characters"][characters],
            character_boxes=arrays["character_boxes"][characters],
        )

    def _text(self, index: int) -> dict[str, Any]:
        text: dict[str, Any] = json.loads(self._lines[self._line_starts[index] : self._line_starts[index + 1]])
        return text


def _map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` that is not compressed, memory-mapped."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            # a local header: 26 bytes, the lengths of name and extra field, then both
            file.seek(member.header_offset + 26)
            file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            name = member.filename.removesuffix(".npy")
            if 0 in shape:  # nothing to map
                arrays[name] = np.empty(shape, dtype)
            else:
                arrays[name] = np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape))
    return arrays


def documents_in(folders: Iterable[Path], skip: Sequence[str]) -> list[Path]:
    """PDFs under ``folders``, sorted, those whose path contains a part of ``skip`` left out.

    Of files that agree in name and size, or in name and the folder they lie in, only the first is taken.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.pdf")):
            if path.is_file() and not any(part in str(path) for part in skip):
                found.setdefault(f"{path.parent.name}/{path.name}", path)
    unique: dict[tuple[str, int], Path] = {}
    for path in found.values():
        unique.setdefault((path.name, path.stat().st_size), path)  # the same manual often lies in two folders
    return sorted(unique.values())


def _sides(page: pdfium.PdfPage, longest: float) -> tuple[int, int]:
    """(height, width) px of the page's picture."""
    width, height = (
        max(MULTIPLE, round(side * longest / max(page.get_size()) / MULTIPLE) * MULTIPLE) for side in page.get_size()
    )
    return height, width


def sample_pages(
    documents: Sequence[Path], seed: int, *, per_document: int, scale: tuple[float, float], least_words: int
) -> Iterator[tuple[Path, int, NDArray[np.uint8], list[Word]]]:
    """Up to ``per_document`` pages of each document with at least ``least_words`` words, neighbours together.

    The longest side of an A4 page is drawn log-uniformly from ``scale`` px; smaller sheets get the same resolution. A
    document that PDFium cannot open is skipped with its name printed.
    """
    for path in documents:
        rng = np.random.default_rng([seed, sum(path.name.encode())])
        try:
            document = pdfium.PdfDocument(path)
            count = len(document)
        except pdfium.PdfiumError as error:
            print(f"skipped {path.name}: {error}")
            continue
        start = int(rng.integers(0, max(1, count - per_document + 1)))
        for number in range(start, min(count, start + per_document)):
            try:
                page = document[number]
                pixels_per_point = float(np.exp(rng.uniform(*np.log(scale)))) / 842
                longest = min(1.3 * scale[1], max(page.get_size()) * pixels_per_point)
                height, width = _sides(page, longest)
                text = words(page, height, width)
                if len(text) >= least_words and height * width <= 1.7 * scale[1] ** 2:
                    yield path, number, render(page, height, width), text
                page.close()
            except pdfium.PdfiumError as error:
                print(f"skipped {path.name} page {number + 1}: {error}")
        document.close()


def write_store(
    folder: Path, pages: Iterable[tuple[Path, int, NDArray[np.uint8], list[Word]]], tokenizer: Tokenizer, limit: int
) -> int:
    """Writes at most ``limit`` pages to ``folder`` (made; must be empty) and returns how many.

    Raises:
        TrainError: the folder is not empty, or there is no page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise TrainError(f"{folder} is not empty: choose a new folder for the store")
    split = WordTokens(tokenizer)
    sizes: list[tuple[int, ...]] = []
    texts: list[_Text] = []
    with (folder / "pixels.bin").open("wb") as pixels_file, (folder / "pages.jsonl").open("wb") as lines:
        for path, number, pixels, text in pages:
            sizes.append(pixels.shape)
            texts.append(_Text.of(text, split))
            pixels_file.write(pixels.tobytes())
            record = {"document": f"{path.parent.name}/{path.name}", "number": number, "words": [w.text for w in text]}
            lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            if len(sizes) == limit:
                break
    if not sizes:
        raise TrainError("no page with enough words was found: check the folders and --least-words")

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(text, name) for text in texts])

    np.savez(
        folder / "pages.npz",
        sizes=np.array(sizes, np.int32),
        pixel_starts=_starts([height * width for height, width in sizes]),
        token_starts=_starts([len(text.tokens) for text in texts]),
        character_starts=_starts([len(text.characters) for text in texts]),
        tokens=joined("tokens"),
        token_boxes=joined("token_boxes"),
        token_words=joined("token_words"),
        characters=joined("characters"),
        character_boxes=joined("character_boxes"),
    )
    return len(sizes)


@dataclass(frozen=True, slots=True)
class _Text:
    """A page's text, with the names and types of `StoredPage`."""

    tokens: NDArray[np.int32]
    token_boxes: NDArray[np.float32]
    token_words: NDArray[np.int32]
    characters: NDArray[np.uint8]
    character_boxes: NDArray[np.float32]

    @classmethod
    def of(cls, text: Sequence[Word], split: WordTokens) -> _Text:
        tokens, words, boxes = [], [], [np.empty((0, 4), np.float32)]
        for index, word in enumerate(text):
            for token, first, end in split(word.text):
                span = word.boxes[first:end]
                if len(span):
                    tokens.append(token)
                    words.append(index)
                    boxes.append(np.concatenate([span[:, :2].min(0), span[:, 2:].max(0)])[None])
        codes = [ord(character) for word in text for character in word.text]
        return cls(
            tokens=np.array(tokens, np.int32),
            token_boxes=np.concatenate(boxes),
            token_words=np.array(words, np.int32),
            characters=np.array([code if code < 128 else 0 for code in codes], np.uint8),
            character_boxes=np.concatenate([boxes[0], *(word.boxes for word in text)]),
        )


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a page store of the PDFs under some folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--documents", type=Path, nargs="+", required=True, help="folders with PDFs")
    parser.add_argument("--skip", nargs="*", default=[], help="leave out paths that contain one of these")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=default_bundle() / "tokenizer.json",
        help="tokenizer.json of the model; default: that of the model in the box",
    )
    parser.add_argument("--per-document", type=int, default=60)
    parser.add_argument("--scale", type=float, nargs=2, default=(800.0, 1150.0), help="longest side of an A4 page, px")
    parser.add_argument("--least-words", type=int, default=60)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    documents = documents_in(options.documents, options.skip)
    order = np.random.default_rng(options.seed).permutation(len(documents))
    pages = sample_pages(
        [documents[i] for i in order],
        options.seed,
        per_document=options.per_document,
        scale=tuple(options.scale),
        least_words=options.least_words,
    )
    written = write_store(options.store, pages, Tokenizer.from_file(str(options.tokenizer)), options.limit)
    print(f"{written} pages of {len(documents)} documents in {options.store}")


if __name__ == "__main__":
    main()
