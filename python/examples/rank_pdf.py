"""Ranks the pages of a PDF: python rank_pdf.py "lifeboat drills" sample.pdf"""

import sys

from ziprerank import Reranker

query, path = sys.argv[1:]
reranker = Reranker.from_bundle()
for page in reranker.rank(query, path, top_k=5):
    print(f"{page.rank}. {page.label}  score {page.score:.2f}  kept {len(page.kept)} of {page.tokens} patches")
