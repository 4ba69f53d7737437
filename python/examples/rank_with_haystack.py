"""Haystack: a pipeline that reranks a PDF's pages. python rank_with_haystack.py "lifeboat drills" sample.pdf"""

import sys

import pypdfium2
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from ziprerank.integrations.haystack import ZipRerankRanker

query, path = sys.argv[1:]
pages = range(1, len(pypdfium2.PdfDocument(path)) + 1)
documents = [Document(meta={"file_path": path, "page_number": page}) for page in pages]

pipeline = Pipeline()
pipeline.add_component("retriever", DocumentJoiner())  # your retrievers join here
pipeline.add_component("ranker", ZipRerankRanker(top_k=5))
pipeline.connect("retriever", "ranker")
found = pipeline.run({"retriever": {"documents": documents}, "ranker": {"query": query}})
for document in found["ranker"]["documents"]:
    print(f"p. {document.meta['page_number']}  {document.score:.3f}")
