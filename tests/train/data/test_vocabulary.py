"""The vocabulary: whole words of the documents, each one token wherever it stands, and pieces for the rest."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas
from tokenizers import Tokenizer
from ziprerank.export.prompt import letter_ids
from ziprerank.train.data.page_store import WordTokens
from ziprerank.train.data.vocabulary import SPECIAL, choose, count_pdfs, count_texts, main, weigh, words_of
from ziprerank.train.errors import TrainError

WORDS = Counter({"training": 9, "pages": 5, "trains": 4, "paging": 1})


def test_words_are_whole_wherever_they_stand() -> None:
    tokenizer = choose(weigh([WORDS]), size=290, pieces=264)
    for text in ("training", " training", "(training", "-training."):
        assert "training" in tokenizer.encode(text).tokens, text
    assert tokenizer.encode(" training  pages").tokens == ["training", "pages"]
    assert tokenizer.encode("trainer").tokens == list("trainer")  # no entry, and no merges: its letters
    assert tokenizer.encode("x_1").tokens == ["x", "_", "1"]
    assert WordTokens(tokenizer)("(Pages)") == [
        (tokenizer.token_to_id("("), 0, 1),
        (tokenizer.token_to_id("pages"), 1, 6),
        (tokenizer.token_to_id(")"), 6, 7),
    ]


def test_rare_words_fall_into_pieces() -> None:
    tokenizer = choose(weigh([WORDS] * 3), size=300, pieces=266)
    assert len(tokenizer.encode("trainer").tokens) < len("trainer")


def test_the_weightiest_words_are_taken() -> None:
    # a word of many documents outweighs one that a single document repeats
    weights = weigh([{"everywhere": 1}] * 3 + [{"repeated": 6, "everywhere": 0}])
    assert weights["everywhere"] > weights["repeated"]
    tokenizer = choose(weights, size=265, pieces=264)
    assert tokenizer.token_to_id("everywhere") == 264
    assert tokenizer.token_to_id("repeated") is None


def test_it_has_what_prompts_need(tmp_path: Path) -> None:
    tokenizer = choose(weigh([WORDS]), size=280, pieces=264)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))
    assert len(set(letter_ids(tmp_path / "tokenizer.json"))) == 20
    assert tokenizer.encode("A<|image_pad|>B pages<|im_end|>[").tokens == [
        *("A", "<|image_pad|>", "B", "pages", "<|im_end|>", "[")
    ]


def test_documents_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pdfs").mkdir()
    canvas = Canvas(str(tmp_path / "pdfs" / "one.pdf"), invariant=1)
    canvas.drawString(72, 700, "Kalomi rentus")
    canvas.showPage()
    canvas.drawString(72, 700, "kalomi")
    canvas.save()
    (tmp_path / "pdfs" / "two.pdf").write_bytes(b"not a PDF")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Kalomi explains\n\nkalomi.")
    assert list(count_pdfs([tmp_path / "pdfs"])) == [{"kalomi": 2, "rentus": 1}]
    assert "skipped two.pdf" in capsys.readouterr().out
    assert list(count_texts(tmp_path / "texts")) == [{"kalomi": 2, "explains": 1}]
    main([str(tmp_path / "out"), "--documents", str(tmp_path / "pdfs"), "--texts", str(tmp_path / "texts")])
    words = json.loads((tmp_path / "out" / "words.json").read_text(encoding="utf-8"))
    assert list(words) == ["kalomi", "explains", "rentus"]
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert tokenizer.encode("rentus explains").tokens == ["rentus", "explains"]


def test_words_are_lower_case_runs() -> None:
    assert words_of("The ﬁle_name (x86) Zoë's") == ["the", "file", "name", "x86", "zoë", "s"]


def test_what_makes_no_vocabulary() -> None:
    with pytest.raises(TrainError, match="pieces is 100, size 300: pieces must be at least 264"):
        choose(WORDS, size=300, pieces=100)
    with pytest.raises(TrainError, match="pieces must be at least 264, size at least pieces"):
        choose(WORDS, size=300, pieces=301)
    with pytest.raises(TrainError, match="hold no words"):
        choose({}, size=300, pieces=264)
