"""Ranks as CrossEncoder.rank does. python rank_with_sentence_transformers.py "lifeboat drills" sample.pdf"""

import sys

import pypdfium2
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder

query, path = sys.argv[1:]
images = [page.render(scale=2).to_pil() for page in pypdfium2.PdfDocument(path)]

for found in ZipRerankCrossEncoder().rank(query, images, top_k=5):
    print(f"p. {found['corpus_id'] + 1}  {found['score']:.3f}")
