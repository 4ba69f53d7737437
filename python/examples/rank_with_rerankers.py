"""AnswerDotAI's rerankers: ranks a PDF's pages. python rank_with_rerankers.py "lifeboat drills" sample.pdf"""

import sys

import pypdfium2
from rerankers import Document
from ziprerank.integrations.rerankers import ZipRerankRanker

query, path = sys.argv[1:]
pages = range(1, len(pypdfium2.PdfDocument(path)) + 1)
documents = [Document(document_type="image", image_path=path, metadata={"page_number": page}) for page in pages]

for result in ZipRerankRanker().rank(query, documents).top_k(5):
    print(f"p. {result.page_number}  {result.score:.3f}")
