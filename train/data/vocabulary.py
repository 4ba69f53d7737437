"""A vocabulary of whole words for a small model, chosen by the words of its training documents.

    python -m ziprerank.train.data.vocabulary OUT --documents FOLDER ... [--texts FOLDER] [--size N]

counts words and writes OUT/tokenizer.json and OUT/words.json. A cell of a page holds a word or two; the fewer tokens
they are, the better the tower reads them: of a word's tokens it reads the first twice as often as the others. So most
entries are whole lower-case words, and a word that is no entry falls into the pieces of a byte-pair encoding. Spaces
separate words and are no tokens, so that a word is the same token after a space, a bracket or a dot.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log1p
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from ziprerank.train.errors import TrainError

from .corpus import documents as texts_in
from .page_store import documents_in

SIZE = 16_384
_PIECES = 4
"""One entry in so many is for the byte-pair encoding that rare words fall into; the rest are whole words."""
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen3-VL's tokens that a ranking prompt may need, in the order of their ids."""
_WORD = re.compile(r"[^\W_]+")
_SPLIT = r"[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]"  # words and single marks; spaces fall between them
_PLAIN = re.compile(r"[a-z]{2,}|[a-z0-9]{2,}")
_MOST_PAGES = 40  # of a document that are counted


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters and digits, ligatures taken apart."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def count_pdfs(folders: Iterable[Path], skip: Sequence[str] = ()) -> Iterator[Counter[str]]:
    """The words of each PDF under ``folders``, of at most 40 pages spread evenly; what PDFium cannot open is named."""
    for path in documents_in(folders, skip):
        try:
            with pdfium.PdfDocument(path) as document:
                count = len(document)
                words: Counter[str] = Counter()
                for number in np.unique(np.linspace(0, count - 1, min(count, _MOST_PAGES)).astype(int)):
                    page = document[int(number)]
                    words.update(words_of(page.get_textpage().get_text_range()))
                    page.close()
        except pdfium.PdfiumError as error:
            print(f"skipped {path.name}: {error}")
            continue
        yield words


def count_texts(folder: Path) -> Iterator[Counter[str]]:
    """The words of each document of a corpus (`ziprerank.train.data.corpus`)."""
    for _, paragraphs in texts_in(folder):
        yield Counter(word for text in paragraphs for word in words_of(text))


def weigh(documents: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """What each word counts: the sum over documents of ``log(1 + count)``, so that no long document outweighs all."""
    weights: dict[str, float] = {}
    for words in documents:
        for word, count in words.items():
            weights[word] = weights.get(word, 0.0) + log1p(count)
    return weights


def choose(weights: Mapping[str, float], size: int = SIZE, pieces: int | None = None) -> Tokenizer:
    """A tokenizer: special tokens, the pieces of a byte-pair encoding, then the weightiest words.

    Args:
        weights: of `weigh`, lower-case words.
        size: most entries; few words make fewer.
        pieces: most entries that are special tokens, bytes and merges; None: a quarter of ``size``, bytes at least.

    Raises:
        TrainError: there is no word, or ``pieces`` do not hold all bytes.
    """
    least = len(SPECIAL) + 256
    pieces = max(least, size // _PIECES) if pieces is None else pieces
    if not least <= pieces <= size:
        raise TrainError(f"pieces is {pieces}, size {size}: pieces must be at least {least}, size at least pieces")
    if not weights:
        raise TrainError("the documents hold no words: check the folders")
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    ordered = sorted(weights, key=lambda word: (-weights[word], word))
    base.train_from_iterator((" ".join([word] * max(1, round(weights[word]))) for word in ordered), trainer)
    state = json.loads(base.to_str())["model"]
    vocabulary: dict[str, int] = state["vocab"]
    vocabulary = {token: vocabulary[token] for token in sorted(vocabulary, key=vocabulary.__getitem__)}
    for word in ordered:
        if len(vocabulary) == size:
            break
        if _PLAIN.fullmatch(word) and word not in vocabulary:
            vocabulary[word] = len(vocabulary)
    merges = [(first, second) for first, second in state["merges"]]
    # a word that is an entry is taken whole, whatever the merges would make of it
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Count the words of documents and write a tokenizer."""
    parser = argparse.ArgumentParser(
        prog="python -m ziprerank.train.data.vocabulary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=Path, nargs="+", required=True, help="folders with PDFs")
    parser.add_argument("--skip", nargs="*", default=[], help="leave out paths that contain one of these")
    parser.add_argument("--texts", type=Path, help="folder of .txt, .html, .pod files or manual pages, counted too")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--pieces", type=int, help="entries that are no whole words; default: a quarter")
    options = parser.parse_args(arguments)
    counts = [*count_pdfs(options.documents, options.skip), *(count_texts(options.texts) if options.texts else ())]
    weights = weigh(counts)
    tokenizer = choose(weights, options.size, options.pieces)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out / "tokenizer.json"), pretty=False)
    kept = {word: round(weights[word], 3) for word in sorted(weights, key=lambda word: (-weights[word], word))}
    (options.out / "words.json").write_text(json.dumps(kept), encoding="utf-8")
    print(
        f"{len(counts)} documents, {len(weights)} distinct words: {tokenizer.get_vocab_size()} entries in {options.out}"
    )


if __name__ == "__main__":
    main()
