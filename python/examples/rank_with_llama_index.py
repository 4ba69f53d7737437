"""LlamaIndex: reranks nodes of a PDF's pages. python rank_with_llama_index.py "lifeboat drills" sample.pdf"""

import sys

import pypdfium2
from llama_index.core.schema import NodeWithScore, TextNode
from ziprerank.integrations.llama_index import ZipRerankPostprocessor

query, path = sys.argv[1:]
pages = range(1, len(pypdfium2.PdfDocument(path)) + 1)
nodes = [NodeWithScore(node=TextNode(metadata={"file_path": path, "page_label": str(page)})) for page in pages]

postprocessor = ZipRerankPostprocessor(top_n=5)  # or index.as_query_engine(node_postprocessors=[postprocessor])
for found in postprocessor.postprocess_nodes(nodes, query_str=query):
    print(f"p. {found.node.metadata['page_label']}  {found.score:.3f}")
