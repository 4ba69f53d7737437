"""Tests of what the adapters share: an engine that is loaded when needed, and errors that say what is missing."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.pdfs import LOST
from haystack import Document as HaystackDocument
from haystack.utils import Secret
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import NodeWithScore, TextNode
from PIL import Image
from rerankers.documents import Document
from ziprerank import Pdf
from ziprerank.errors import BundleError, InvalidInput, PageError, PageWarning
from ziprerank.integrations.documents import DocumentPage, MetadataRules
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.haystack import ZipRerankRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.ranking import RankOptions, rank_documents
from ziprerank.integrations.rerankers import ZipRerankRanker as RerankersRanker
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

EXTRAS = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack", "rerankers": "rerankers"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("adapter", EXTRAS)
def test_a_missing_package_is_named_with_its_extra(adapter: str) -> None:
    code = f"""
import sys
sys.modules[{EXTRAS[adapter]!r}] = None
try:
    import ziprerank.integrations.{adapter}
except ImportError as error:
    print(type(error).__name__, error)
"""
    said = run(code)
    assert said.startswith("MissingDependency")
    assert f'pip install "ziprerank[{adapter.replace("_", "-")}]"' in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keep_ratio": 2}, r"keep_ratio 2: must be over 0 and at most 1"),
        ({"window": 50}, "window 50"),
        ({"window": 4, "stride": 4}, "stride 4"),
        ({"on_bad_page": "x"}, "on_bad_page 'x'"),
        ({"strategy": "best"}, "strategy 'best'"),
        ({"strategy": "partition", "stride": 5}, "only windows have a stride"),
        ({"budget_ms": 0}, "budget_ms 0"),
        ({"scale": "x"}, "scale 'x'"),
    ],
    ids=str,
)
def test_options_that_nothing_can_be_ranked_with_are_refused_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        RankOptions(**options)


def test_the_sentence_transformers_shape_needs_no_package() -> None:
    code = """
import sys
for name in ("sentence_transformers", "torch", "transformers", "pydantic"):
    sys.modules[name] = None
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
print(ZipRerankCrossEncoder().reranker.loaded)
"""
    assert run(code) == "False\n"


def test_threads_load_one_engine(bundle: Path) -> None:
    lazy = LazyReranker(EngineOptions(str(bundle), threads=1))
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: lazy.get(), range(8)))
    assert len({id(reranker) for reranker in loaded}) == 1


def test_copies_share_the_engine_and_pickles_its_options(reranker: Reranker, bundle: Path) -> None:
    lazy = LazyReranker(reranker=reranker)
    assert lazy.options == EngineOptions(bundle, threads=1, pool_bytes=64 << 20, check="size")
    assert copy.deepcopy(lazy).get() is copy.copy(lazy).get() is reranker
    sent = pickle.loads(pickle.dumps(lazy))
    assert (sent.loaded, sent.options) == (False, lazy.options)
    assert sent.get().engine.info["pool_bytes"] == reranker.engine.info["pool_bytes"]


def test_adapters_share_a_reranker(reranker: Reranker) -> None:
    lazy = LazyReranker(reranker=reranker)
    compressor, ranker = ZipRerankCompressor(reranker=lazy), ZipRerankRanker(reranker=lazy)
    assert compressor.reranker is ranker.reranker is lazy
    with pytest.raises(InvalidInput, match="leave one of them out"):
        ZipRerankRanker(reranker=lazy, threads=7)
    with pytest.raises(InvalidInput, match=r"'threads': 7.* given with a reranker"):
        ZipRerankRanker(reranker=reranker, threads=7)


def test_an_engine_that_no_options_load_is_used_all_the_same(
    reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a Triton server; what needs the options says so."""

    def refuse(_reranker: Reranker) -> EngineOptions:
        raise InvalidInput("cannot be loaded by options")

    monkeypatch.setattr(Reranker, "options", property(refuse))
    picture = Image.new("RGB", (200, 200), "white")
    assert len(ZipRerankCrossEncoder(reranker=reranker).rank("soup", [picture, picture])) == 2
    for adapter in (ZipRerankCompressor, ZipRerankPostprocessor, ZipRerankRanker, RerankersRanker):
        made = adapter(reranker=reranker)
        assert made is not None
    lazy = LazyReranker(reranker=reranker)
    assert LazyReranker.of(lazy, EngineOptions()) is lazy
    assert not lazy.loadable
    for needs in (lambda: pickle.dumps(lazy), lambda: ZipRerankRanker(reranker=lazy).to_dict()):
        with pytest.raises(InvalidInput, match="cannot be loaded by options"):
            needs()


def test_loading_that_failed_is_tried_again(bundle: Path, tmp_path: Path) -> None:
    lazy = LazyReranker(EngineOptions(str(tmp_path / "later"), threads=1))
    with pytest.raises(BundleError):
        lazy.get()
    (tmp_path / "later").symlink_to(bundle)
    assert lazy.get().bundle.image.longest_side == 192


def test_errors_while_ranking_name_the_document(reranker: Reranker, sample: Path, files: list[bytes]) -> None:
    """The error names the third document, although it is the second candidate: the first two are chunks of one page."""
    cut = files[0][: len(files[0]) // 2]  # a whole header, and half of the pixels
    documents = [DocumentPage(sample, 1), DocumentPage(sample, 1), DocumentPage(cut)]
    with pytest.raises(PageError, match=r"candidate 2 .*damaged image") as caught:
        rank_documents(reranker, "dividend", documents)
    assert caught.value.index == 2


def test_equal_pdfs_in_memory_and_pages_out_of_order(reranker: Reranker, sample: Path) -> None:
    """A result's index is the position of its document, whatever the order of files and pages."""
    data = sample.read_bytes()
    numbers = [7, 2, 16, 2]
    documents = [DocumentPage(bytes(bytearray(data)), number) for number in numbers]
    ranked = rank_documents(reranker, "dividend shareholders", documents)
    wanted = reranker.rank("dividend shareholders", Pdf(sample, [7, 2, 16]))
    shown_by = {0: [0], 1: [1, 3], 2: [2]}
    assert [result.index for result in ranked] == [at for page in wanted for at in shown_by[page.index]]


def haystack_documents(reranker: Reranker, paths: list[Path]) -> list[tuple[Any, ...]]:
    documents = [HaystackDocument(meta={"file_path": str(path)}) for path in paths]
    found = ZipRerankRanker(reranker=reranker).run("dividend", documents)["documents"]
    return [(one.meta["file_path"], one.meta.get("page_number"), one.id, one.score) for one in found]


def langchain_documents(reranker: Reranker, paths: list[Path]) -> list[tuple[Any, ...]]:
    documents = [LangChainDocument("", id=str(at), metadata={"source": str(path)}) for at, path in enumerate(paths)]
    found = ZipRerankCompressor(reranker=reranker, first_page=1).compress_documents(documents, "dividend")
    return [
        (one.metadata["source"], one.metadata.get("page"), one.id, one.metadata["relevance_score"]) for one in found
    ]


def llama_index_nodes(reranker: Reranker, paths: list[Path]) -> list[tuple[Any, ...]]:
    nodes = [NodeWithScore(node=TextNode(metadata={"file_path": str(path)})) for path in paths]
    found = ZipRerankPostprocessor(reranker=reranker).postprocess_nodes(nodes, query_str="dividend")
    return [
        (one.node.metadata["file_path"], one.node.metadata.get("page_label"), one.node.node_id, one.score)
        for one in found
    ]


def rerankers_documents(reranker: Reranker, paths: list[Path]) -> list[tuple[Any, ...]]:
    ranker = RerankersRanker("ziprerank", reranker=reranker)
    documents = [Document(document_type="image", image_path=str(path)) for path in paths]
    return [
        (one.document.image_path, (one.document.metadata or {}).get("page_number"), at, one.score)
        for at, one in enumerate(ranker.rank("dividend", documents).results)
    ]


@pytest.mark.parametrize("adapter", [haystack_documents, langchain_documents, llama_index_nodes, rerankers_documents])
@pytest.mark.parametrize("kind", ["pdf", "tiff"])
def test_a_file_without_a_page_is_ranked_by_all_its_pages(
    reranker: Reranker, files: list[bytes], tmp_path: Path, adapter: Any, kind: str
) -> None:
    """Each page is a document of its own, beside an image, which has no page; scores are those of the library."""
    several, image = tmp_path / f"a.{kind}", tmp_path / "b.png"
    pages = [Image.open(io.BytesIO(data)).convert("RGB") for data in files[:3]]
    pages[0].save(several, kind, save_all=True, append_images=pages[1:])
    image.write_bytes(files[3])
    found = adapter(reranker, [several, image])
    wanted = [(page.source, page.page, page.probability) for page in reranker.rank("dividend", [several, image])]
    assert [(path, page) for path, page, _, _ in found] == [(source, page) for source, page, _ in wanted]
    assert [score for *_, score in found] == pytest.approx([score for *_, score in wanted], abs=1e-6)
    assert len({key for _, _, key, _ in found}) == 4


def test_only_one_document_shows_every_page_of_a_file(reranker: Reranker, sample: Path) -> None:
    """Chunks without their pages would each be the whole PDF again."""
    whole = DocumentPage(sample, None, "metadata['page']")
    with pytest.raises(PageError, match=r"candidate 0 shows every page .* say which page with metadata") as caught:
        rank_documents(reranker, "dividend", [whole, DocumentPage(sample, 3), whole], every_page=True)
    assert caught.value.index == 2
    ranked = rank_documents(reranker, "dividend", [whole, DocumentPage(sample, 3)], every_page=True)
    assert sorted((one.index, one.page or 0) for one in ranked) == [*((0, n) for n in range(1, 19)), (1, 0)]


def test_every_adapter_skips_what_cannot_be_shown(reranker: Reranker, sample: Path, tmp_path: Path) -> None:
    """Of four documents the second is not there, and the third lies in a PDF that is none; a warning names both."""
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 and nothing else")
    paths = [(str(sample), 2), (str(tmp_path / "none.png"), 1), (str(broken), 1), (str(sample), 3)]
    skip: dict[str, Any] = {"reranker": reranker, "on_bad_page": "skip"}

    def haystack(options: dict[str, Any]) -> list[Any]:
        documents = [HaystackDocument(meta={"file_path": path, "page_number": page}) for path, page in paths]
        return list(ZipRerankRanker(**options).run("page", documents)["documents"])

    def langchain(options: dict[str, Any]) -> list[Any]:
        documents = [LangChainDocument("", metadata={"source": path, "page": page - 1}) for path, page in paths]
        return list(ZipRerankCompressor(**options).compress_documents(documents, "page"))

    def llama_index(options: dict[str, Any]) -> list[Any]:
        nodes = [
            NodeWithScore(node=TextNode(text="", metadata={"file_path": path, "page_label": page}))
            for path, page in paths
        ]
        return list(ZipRerankPostprocessor(**options).postprocess_nodes(nodes, query_str="page"))

    def rerankers(options: dict[str, Any]) -> list[Any]:
        documents = [
            Document(document_type="image", image_path=path, metadata={"page_number": page}) for path, page in paths
        ]
        return list(RerankersRanker(**options).rank("page", documents).results)

    def cross_encoder(options: dict[str, Any]) -> list[Any]:
        documents = [{"image": Path(path), "page": page} for path, page in paths]
        return ZipRerankCrossEncoder(**options).rank("page", documents)

    for adapter in (haystack, langchain, llama_index, rerankers, cross_encoder):
        with pytest.warns(PageWarning) as told:
            assert len(adapter(skip)) == 2
        told_pages = [str(one.message) for one in told if one.category is PageWarning]
        assert any("none.png: no such file" in text for text in told_pages)
        assert any("broken.pdf" in text and "damaged" in text for text in told_pages)
        assert all(text.startswith("skipped: ") for text in told_pages)
        with pytest.raises(PageError, match="candidate 1"):
            adapter({"reranker": reranker})


def test_adapters_warn_of_lost_text(reranker: Reranker) -> None:
    ranker = ZipRerankCrossEncoder(reranker=reranker)
    with pytest.warns(PageWarning, match=r"PDF bytes p\. 1: text is missing"):
        assert len(ranker.rank("page", [LOST["Greek"], LOST["Cyrillic"]], top_k=1)) == 1


def test_a_text_without_a_page_is_skipped_too(reranker: Reranker, files: list[bytes]) -> None:
    documents = [{"text": "no page"}, files[0]]
    with pytest.raises(PageError, match="candidate 0"):
        ZipRerankCrossEncoder(reranker=reranker).rank("page", documents)
    with pytest.warns(PageWarning, match="it has text only"):
        (found,) = ZipRerankCrossEncoder(reranker=reranker, on_bad_page="skip").rank("page", documents)
    assert found["corpus_id"] == 1


def test_every_adapter_opens_encrypted_pdfs(reranker: Reranker, encrypted: Path) -> None:
    def haystack(password: str | None) -> int:
        secret = None if password is None else Secret.from_token(password)
        documents = [HaystackDocument(meta={"file_path": str(encrypted), "page_number": page}) for page in (1, 2)]
        return len(ZipRerankRanker(reranker=reranker, password=secret).run("page", documents)["documents"])

    def langchain(password: str | None) -> int:
        documents = [LangChainDocument("", metadata={"source": str(encrypted), "page": page}) for page in (0, 1)]
        return len(ZipRerankCompressor(reranker=reranker, password=password).compress_documents(documents, "page"))

    def llama_index(password: str | None) -> int:
        nodes = [
            NodeWithScore(node=TextNode(text="", metadata={"file_path": str(encrypted), "page_label": str(page)}))
            for page in (1, 2)
        ]
        adapter = ZipRerankPostprocessor(reranker=reranker, password=password)
        return len(adapter.postprocess_nodes(nodes, query_str="page"))

    def rerankers(password: str | None) -> int:
        documents = [
            Document(document_type="image", image_path=str(encrypted), metadata={"page_number": page})
            for page in (1, 2)
        ]
        return len(RerankersRanker(reranker=reranker, password=password).rank("page", documents).results)

    def cross_encoder(password: str | None) -> int:
        documents = [{"image": str(encrypted), "page": page} for page in (1, 2)]
        return len(ZipRerankCrossEncoder(reranker=reranker, password=password).rank("page", documents))

    for adapter in (haystack, langchain, llama_index, rerankers, cross_encoder):
        assert adapter("sesame") == 2
        with pytest.raises(ValueError, match="password"):
            adapter("wrong")
        with pytest.raises(ValueError, match="encrypted"):
            adapter(None)


@pytest.mark.parametrize(
    ("first_page", "value", "page"),
    [
        (0, 1, 2),
        (0, 1.0, 2),
        (0, np.float32(1), 2),
        (0, "1", 2),
        (0, "+01.", 2),
        (1, "1", 1),
        (1, np.int64(3), 3),
        (0, "1.5", "1.5"),
        (0, "A-1", "A-1"),
        (0, "9" * 5000, "9" * 5000),
        (0, "", ""),
        (0, None, None),
    ],
)
def test_pages_in_metadata(first_page: int, value: object, page: int | str | None) -> None:
    assert MetadataRules("source", "page", first_page).page({"page": value}) == page


def test_strings_under_page_label_are_labels() -> None:
    rules = MetadataRules("file_path", "page_label")
    assert [rules.page({"page_label": value}) for value in ("1", "1.0", "iv", 1, 2.0)] == ["1", "1.0", "iv", 1, 2]


def test_a_password_is_not_written_down(reranker: Reranker) -> None:
    compressor = ZipRerankCompressor(reranker=reranker, password="sesame")
    assert "sesame" not in repr(compressor)
    assert "sesame" not in compressor.model_dump_json()
