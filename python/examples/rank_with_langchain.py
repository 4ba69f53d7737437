"""LangChain: reranks what a PDF loader reads. python rank_with_langchain.py "lifeboat drills" sample.pdf"""

import sys

import pypdfium2
from langchain_core.documents import Document
from ziprerank.integrations.langchain import ZipRerankCompressor

query, path = sys.argv[1:]
pages = range(len(pypdfium2.PdfDocument(path)))
documents = [Document("", metadata={"source": path, "page": page}) for page in pages]  # or PyPDFLoader(path).load()

compressor = ZipRerankCompressor(top_n=5)
for document in compressor.compress_documents(documents, query):
    print(f"p. {document.metadata['page'] + 1}  {document.metadata['relevance_score']:.3f}")
