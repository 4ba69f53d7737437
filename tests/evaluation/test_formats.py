"""Readers take data in the published shapes, with its oddities, and name what is wrong with other data."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from eval_data import page_image, write_mmdocir, write_vidore
from ziprerank.errors import InvalidInput
from ziprerank.evaluation.candidates import FirstStage, Task, sampled, tasks
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.formats import read_data
from ziprerank.evaluation.formats.pdf import page_id
from ziprerank.evaluation.lines import Lines, read_lines
from ziprerank.evaluation.runs import read_run, sorted_pages, write_run

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
DOCUMENTS = (
    {
        "name": "PH_2016.06.08_Economy-Final.pdf",
        "domain": "Academic paper",
        "pages": ("whales", "birds", "rats"),
        "questions": (("Where are whales? ", [0]), ("Which pages have wings or tails?\n", [1, 2])),
    },
    {
        "name": "年报.pdf",
        "domain": "News",
        "pages": ("股东", "董事"),
        "questions": (("董事会有谁?", [1]), ("谁是股东?", [0])),
    },
)


def read_pages(data: Data, pages: list[str], scratch: Path) -> list[object]:
    with data.opened(pages, scratch):
        return list(data.inputs(pages))


def test_mmdocir(tmp_path: Path) -> None:
    data = read_data(write_mmdocir(tmp_path / "data", DOCUMENTS))
    assert data.format == "mmdocir"
    first, second, third, _ = data.queries
    assert (first.id, first.text, first.group) == (
        "PH_2016.06.08_Economy-Final.pdf_0",
        "Where are whales? ",
        "Academic paper",
    )
    assert second.relevant == {f"{second.document}:1": 1, f"{second.document}:2": 1}
    assert data.pool(third.document) == ["年报.pdf:0", "年报.pdf:1"]
    assert data.texts(["年报.pdf:1"]) == {"年报.pdf:1": "董事"}
    assert read_pages(data, ["年报.pdf:1", "PH_2016.06.08_Economy-Final.pdf:0"], tmp_path / "scratch") == [
        page_image("董事"),
        page_image("whales"),
    ]


def test_mmdocir_of_a_document_with_844_pages_is_read_by_name_only(tmp_path: Path) -> None:
    """The longest document; its pictures are left where they are."""
    rows = {"doc_name": ["long.pdf"] * 844, "ocr_text": ["word"] * 844}
    pq.write_table(pa.table(rows), tmp_path / "MMDocIR_pages.parquet")
    question = {"Q": "which?", "A": "", "page_id": [843], "type": "['Table']", "layout_mapping": []}
    line = {
        "doc_name": "long.pdf",
        "domain": "Laws",
        "page_indices": [0, 843],
        "layout_indices": [0, 1],
        "questions": [question],
    }
    (tmp_path / "MMDocIR_annotations.jsonl").write_text(json.dumps(line), encoding="utf-8")
    data = read_data(tmp_path)
    (task,) = tasks(data, data.queries, FirstStage())
    assert len(task.pages) == 844
    assert task.fault is None
    (task,) = tasks(data, data.queries, FirstStage("bm25"))
    assert task.pages == tuple(f"long.pdf:{page}" for page in range(20))  # equal scores keep the order


def test_mmdocir_files_of_different_versions_are_refused(tmp_path: Path) -> None:
    data = read_data(write_mmdocir(tmp_path, DOCUMENTS))
    write_mmdocir(tmp_path / "other", DOCUMENTS[::-1])
    (tmp_path / "other" / "MMDocIR_pages.parquet").replace(tmp_path / "MMDocIR_pages.parquet")
    with pytest.raises(InvalidInput, match="download both files of one version"):
        data.texts(["年报.pdf:1"])


def test_mmdocir_with_fewer_pages_than_it_names_is_refused(tmp_path: Path) -> None:
    data = read_data(write_mmdocir(tmp_path, DOCUMENTS))
    write_mmdocir(tmp_path / "other", DOCUMENTS[:1])
    (tmp_path / "other" / "MMDocIR_pages.parquet").replace(tmp_path / "MMDocIR_pages.parquet")
    with pytest.raises(InvalidInput, match="ends at row 2"):
        data.texts(["年报.pdf:1"])


def test_a_question_about_a_page_that_the_document_lacks_has_a_reason(tmp_path: Path) -> None:
    documents = [{**DOCUMENTS[1], "questions": (("who?", [5]),)}]
    data = read_data(write_mmdocir(tmp_path, documents))
    (task,) = tasks(data, data.queries, FirstStage())
    assert task.fault == "its pages [5] are not in the document, which has 2"


CORPUS = [(7, page_image("seven")), (3, page_image("three", "PNG")), (12, page_image("twelve"))]
QUERIES = [(1, "seven?", "english"), (2, "trois?", "french"), (3, "nobody judged this", "english")]
QRELS = [(1, 7, 2), (1, 12, 1), (2, 3, 1)]


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("hyphens", [True, False])
def test_vidore(tmp_path: Path, hyphens: bool, struct: bool) -> None:
    ranked = {1: [7, 3], 2: [12, 7], 3: [3]}
    folder = write_vidore(tmp_path / "data", CORPUS, QUERIES, QRELS, hyphens=hyphens, struct=struct, top_ranked=ranked)
    data = read_data(folder)
    assert (data.format, data.pool(None)) == ("vidore", ["7", "3", "12"])
    assert [(query.id, query.text, query.relevant, query.group) for query in data.queries] == [
        ("1", "seven?", {"7": 2, "12": 1}, "english"),
        ("2", "trois?", {"3": 1}, "french"),
        ("3", "nobody judged this", None, "english"),
    ]
    assert [task.pages for task in tasks(data, data.queries, FirstStage())] == [("7", "3"), ("12", "7"), ("3",)]
    assert read_pages(data, ["3", "7"], tmp_path / "scratch") == [CORPUS[1][1], CORPUS[0][1]]


def test_a_corpus_without_candidates_asks_for_a_first_stage(tmp_path: Path) -> None:
    data = read_data(write_vidore(tmp_path, CORPUS, QUERIES, QRELS))
    with pytest.raises(InvalidInput, match="corpus of 3 pages: give --first-stage RUN or bm25"):
        tasks(data, data.queries, FirstStage())
    assert tasks(data, data.queries[:1], FirstStage("bm25", depth=2))[0].pages == ("7", "3")


def test_duplicate_documents_and_unknown_ones_are_told(tmp_path: Path) -> None:
    ranked = {1: [7, 3, 7], 2: [99], 3: []}
    data = read_data(write_vidore(tmp_path / "a", CORPUS, QUERIES, QRELS, top_ranked=ranked))
    assert [task.fault for task in tasks(data, data.queries, FirstStage())] == [
        "the first stage has the candidate 7 twice",
        "the candidate 99 is not among the pages of the data",
        "the first stage has no candidates for it",
    ]
    with pytest.raises(InvalidInput, match="the corpus has the id '7' twice"):
        read_data(write_vidore(tmp_path / "b", [CORPUS[0], CORPUS[0]], QUERIES, QRELS))


def test_pictures_that_are_missing_are_told_when_they_are_ranked(tmp_path: Path) -> None:
    data = read_data(write_vidore(tmp_path / "data", [(7, None), *CORPUS[1:]], QUERIES, QRELS))
    with data.opened(["7", "3"], tmp_path / "scratch"):
        assert data.inputs(["3"]) == [CORPUS[1][1]]
        with pytest.raises(InvalidInput, match="7: the row has no picture"):
            data.inputs(["3", "7"])


def test_grades_are_whole_numbers(tmp_path: Path) -> None:
    write_vidore(tmp_path, CORPUS, QUERIES, [(1, 7, 1)])
    pq.write_table(
        pa.table({"query_id": [1], "corpus_id": [7], "score": [0.5]}),
        tmp_path / "qrels" / "test-00000-of-00001.parquet",
    )
    with pytest.raises(InvalidInput, match=r"the grade 0\.5 must be a whole number"):
        read_data(tmp_path)


def write_trec(folder: Path, run: str | None = None) -> Path:
    (folder / "documents").mkdir(parents=True)
    (folder / "documents" / "report.pdf").write_bytes(SAMPLE.read_bytes())
    (folder / "documents" / "scan.png").write_bytes(page_image("scan", "PNG"))
    (folder / "queries.tsv").write_text("q1\twhales and birds\nq2\t股东\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("q1 0 report:17 2\nq1 0 scan 0\nq2 0 scan 1\n", encoding="utf-8")
    if run is not None:
        (folder / "run.trec").write_text(run, encoding="utf-8")
    return folder


def test_trec(tmp_path: Path) -> None:
    data = read_data(write_trec(tmp_path, "q1 Q0 report:17 1 0.5 x\nq1 Q0 scan 2 0.5 x\nq1 Q0 report:2 3 0.7 x\n"))
    assert data.queries[0].relevant == {"report:17": 2, "scan": 0}
    first, second = tasks(data, data.queries, FirstStage())
    assert first.pages == ("report:2", "scan", "report:17")  # equal scores by falling id, as trec_eval sorts
    assert second.fault == "the first stage has no candidates for it"
    found = data.inputs(["scan", "report:2", "report:17"])
    assert found[0] == tmp_path / "documents" / "scan.png"
    assert (found[1].source, found[1].pages) == (tmp_path / "documents" / "report.pdf", [2, 17])  # type: ignore[union-attr]
    assert "whale" in data.texts(["report:17"])["report:17"]


def test_trec_with_a_table_of_documents(tmp_path: Path) -> None:
    write_trec(tmp_path)
    (tmp_path / "documents.tsv").write_text(
        "report:17\tdocuments/report.pdf\t17\nscan\tdocuments/scan.png\n", encoding="utf-8"
    )
    data = read_data(tmp_path)
    assert data.pool(None) == ["report:17", "scan"]
    for line, told in (
        ("x\tdocuments/report.pdf", "a third column must give a page from 1"),
        ("x\tdocuments/scan.png\t1", "is a picture, which has no page '1'"),
        ("x\tdocuments/none.png", "there is no file"),
    ):
        (tmp_path / "documents.tsv").write_text(line, encoding="utf-8")
        with pytest.raises(InvalidInput, match=told):
            read_data(tmp_path)


def test_pdf(tmp_path: Path) -> None:
    (tmp_path / "a b.pdf").write_bytes(SAMPLE.read_bytes())
    rows = [
        {"document": "a b.pdf", "query": "whale", "page": 16, "candidates": [4, 16, 9]},
        {"document": "a b.pdf", "query": "dividend", "page": [4, 5], "id": "two"},
    ]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = read_data(tmp_path)
    one, two = tasks(data, data.queries, FirstStage())
    assert (one.query.id, one.query.relevant, one.pages) == (
        "1",
        {"a%20b.pdf:16": 1},
        ("a%20b.pdf:4", "a%20b.pdf:16", "a%20b.pdf:9"),
    )
    assert (two.query.id, len(two.pages)) == ("two", 18)
    (pages,) = data.inputs(one.pages)
    assert (pages.source, pages.pages) == (tmp_path / "a b.pdf", [5, 17, 10])  # type: ignore[union-attr]
    assert tasks(data, data.queries[:1], FirstStage("bm25"))[0].pages[0] == "a%20b.pdf:16"


def test_page_ids_have_no_white_space_and_are_distinct() -> None:
    names = ["a b.pdf", "a%20b.pdf", "a\u00a0b.pdf", "a\tb.pdf"]
    ids = [page_id(name, 3) for name in names]
    assert len(set(ids)) == len(names)
    assert not any(letter.isspace() for one in ids for letter in one)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"document": "none.pdf", "query": "x", "page": 0}, r"holds no none\.pdf"),
        ({"document": "a.pdf", "query": "x", "page": 18}, "18 pages, counted from 0, and no page 18"),
        ({"document": "a.pdf", "query": "x"}, "KeyError: 'page'"),
        ({"document": "a.pdf", "query": 5, "page": 0}, r"must be text, they are 'a\.pdf' and 5"),
        ({"document": ["a.pdf"], "query": "x", "page": 0}, "must be text"),
    ],
)
def test_questions_about_pages_that_are_not_there_are_refused(
    tmp_path: Path, row: dict[str, object], told: str
) -> None:
    (tmp_path / "a.pdf").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "queries.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InvalidInput, match=told):
        read_data(tmp_path)


def test_lines_of_json_end_where_their_lines_do(tmp_path: Path) -> None:
    """Not at other characters that part lines, which JSON may hold as they are; and what is no UTF-8 is named."""
    (tmp_path / "a.pdf").write_bytes(SAMPLE.read_bytes())
    row = {"document": "a.pdf", "query": "whale\u2028bird", "page": 16}
    questions = tmp_path / "queries.jsonl"
    questions.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [query.text for query in read_data(tmp_path).queries] == ["whale\u2028bird"]
    questions.write_bytes(b'{"query": "\xff"}\n')
    with pytest.raises(InvalidInput, match=r"queries\.jsonl cannot be read"):
        read_data(tmp_path)


def test_a_query_with_half_a_surrogate_pair_has_a_reason_and_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(SAMPLE.read_bytes())
    row = {"document": "a.pdf", "query": "whale \ud83d, 股东", "page": 16}
    (tmp_path / "queries.jsonl").write_text(json.dumps(row), encoding="utf-8")
    data = read_data(tmp_path)
    (task,) = tasks(data, data.queries, FirstStage("bm25"))
    assert task.fault == "the query holds half a surrogate pair, which is no text"
    with Lines(tmp_path / "rows.jsonl") as rows:
        rows.add(row)
    assert "股东" in (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    assert list(read_lines(tmp_path / "rows.jsonl")) == [row]
    (tmp_path / "queries.jsonl").write_text(json.dumps({**row, "id": "\udc00"}), encoding="utf-8")
    with pytest.raises(InvalidInput, match="must be text without white space"):
        read_data(tmp_path)


def test_mmdocir_names_what_is_no_text(tmp_path: Path) -> None:
    write_mmdocir(tmp_path, [{**DOCUMENTS[0], "questions": ((7, [0]),)}])
    with pytest.raises(InvalidInput, match="line 1: doc_name and every Q must be text"):
        read_data(tmp_path)


def test_a_folder_of_two_forms_or_none_asks_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the files of no form"):
        read_data(tmp_path)
    write_trec(tmp_path)
    write_mmdocir(tmp_path, DOCUMENTS)
    with pytest.raises(InvalidInput, match="mmdocir or trec, so name it with --format"):
        read_data(tmp_path)
    assert read_data(tmp_path, "trec").format == "trec"


def test_runs_sort_everywhere_as_they_are_ranked(tmp_path: Path) -> None:
    file = tmp_path / "run.trec"
    orders = {"q1": ["b", "a", "c"], "q2": [], "q3": ["z"]}
    write_run(file, orders, "x")
    assert {query: sorted_pages(scored) for query, scored in read_run(file)} == {"q1": ["b", "a", "c"], "q3": ["z"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [("q Q0 a 1 high x", "is not QUERY"), ("q Q0 a 1 nan x", "not a number"), ("q a 1", "is not QUERY")],
)
def test_lines_that_are_none_of_a_run_are_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "run").write_text(f"q Q0 b 1 2.0 x\n{text}\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=f"line 2.*{told}"):
        list(read_run(tmp_path / "run"))


def test_a_run_of_another_data_set_is_refused(tmp_path: Path) -> None:
    data = read_data(write_mmdocir(tmp_path, DOCUMENTS))
    run = tmp_path / "other.trec"
    run.write_text("q1 Q0 d1 1 0.5 x\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="has none of the queries"):
        tasks(data, data.queries, FirstStage(str(run)))


def test_a_relevant_page_that_the_run_lacks_is_no_fault(tmp_path: Path) -> None:
    data = read_data(write_mmdocir(tmp_path, DOCUMENTS))
    run = tmp_path / "first.trec"
    run.write_text("年报.pdf_0 Q0 年报.pdf:0 1 0.5 x\n", encoding="utf-8")
    (task,) = tasks(data, [data.queries[2]], FirstStage(str(run)))
    assert task == Task(data.queries[2], ("年报.pdf:0",), None)


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(tmp_path: Path) -> None:
    queries = read_data(write_mmdocir(tmp_path, DOCUMENTS)).queries
    drawn = sampled(queries, 2, seed=1)
    assert drawn == sampled(queries, 2, seed=1)
    assert [queries.index(query) for query in drawn] == sorted(queries.index(query) for query in drawn)
    assert {tuple(query.id for query in sampled(queries, 2, seed)) for seed in range(20)} > {tuple(q.id for q in drawn)}
    with pytest.raises(InvalidInput, match="limit 0"):
        sampled(queries, 0, seed=0)
