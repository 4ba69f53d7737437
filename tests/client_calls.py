"""Clients of other servers, each as its documentation calls it, with nothing changed but the address.

A call takes the server's address, words or data URLs as documents, and the number of results that are wanted, and
returns the pairs of index and score that the client hands its user, in the client's order; a score is None where the
client keeps it to itself. Packages are imported by the call, so that those that are missing cost no other call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Pairs = list[tuple[int, float | None]]
Call = Callable[[str, Sequence[str], int], Pairs]
QUERY = "dividend shareholders board directors"


@dataclass(frozen=True)
class Client:
    """A row of the table in docs/clients.md.

    Attributes:
        name: The client's.
        package: The distribution that is imported.
        call: Ranks with it.
        logits: Whether its scores are logits.
        images: Whether it can send page images: as data URLs, in the place of words.
        note: What else a reader should know.
    """

    name: str
    package: str
    call: Call
    logits: bool = False
    images: bool = True
    note: str = ""


CLIENTS: list[Client] = []


def client(name: str, package: str, **more: Any) -> Callable[[Call], Call]:
    def add(call: Call) -> Call:
        CLIENTS.append(Client(name, package, call, **more))
        return call

    return add


def _pairs(results: Any, score: str = "relevance_score") -> Pairs:
    """Reads results that are objects with attributes, or dictionaries."""
    get = (lambda one, key: one[key]) if results and isinstance(results[0], dict) else getattr
    return [(get(one, "index"), get(one, score)) for one in results]


def _places(documents: Sequence[str], ranked: Any) -> Pairs:
    """The pairs of (document, score) by the documents' positions."""
    return [(list(documents).index(document), score) for document, score in ranked]


@client("Cohere, v2", "cohere")
def cohere_v2(url: str, documents: Sequence[str], top: int) -> Pairs:
    import cohere

    api = cohere.ClientV2(api_key="none", base_url=url)
    return _pairs(api.rerank(model="rerank-v3.5", query=QUERY, documents=list(documents), top_n=top).results)


@client("Cohere, v1", "cohere")
def cohere_v1(url: str, documents: Sequence[str], top: int) -> Pairs:
    import cohere

    api = cohere.Client(api_key="none", base_url=url)
    answer = api.rerank(
        model="rerank-english-v3.0", query=QUERY, documents=list(documents), top_n=top, return_documents=True
    )
    assert [one.document.text for one in answer.results] == [documents[one.index] for one in answer.results]
    return _pairs(answer.results)


@client("Cohere, v1, `rank_fields`", "cohere", images=False, note="fields are lines of one text")
def cohere_fields(url: str, documents: Sequence[str], top: int) -> Pairs:
    import cohere

    api = cohere.Client(api_key="none", base_url=url)
    answer = api.rerank(
        model="rerank-english-v3.0",
        query=QUERY,
        documents=[{"text": one, "kind": "memo"} for one in documents],
        rank_fields=["text"],
        top_n=top,
    )
    return _pairs(answer.results)


@client("Cohere, v2, asynchronous", "cohere")
def cohere_async(url: str, documents: Sequence[str], top: int) -> Pairs:
    import cohere

    async def ask() -> Pairs:
        async with cohere.AsyncClientV2(api_key="none", base_url=url) as api:
            answer = await api.rerank(model="rerank-v3.5", query=QUERY, documents=list(documents), top_n=top)
        return _pairs(answer.results)

    return asyncio.run(ask())


@client("Voyage", "voyageai")
def voyage(url: str, documents: Sequence[str], top: int) -> Pairs:
    import voyageai

    api = voyageai.Client(api_key="none", base_url=f"{url}/v1")
    answer = api.rerank(QUERY, list(documents), model="rerank-2.5", top_k=top)
    assert [one.document for one in answer.results] == [documents[one.index] for one in answer.results]
    return _pairs(answer.results)


def _litellm(provider: str, model: str, base: str = "", **more: Any) -> None:
    images = more.pop("images", True)
    text = more.pop("text", True)

    @client(f"litellm, `{provider}/`", "litellm", images=images, **more)
    def call(url: str, documents: Sequence[str], top: int) -> Pairs:
        import litellm

        answer = litellm.rerank(
            model=f"{provider}/{model}",
            query=QUERY,
            documents=list(documents),
            top_n=top,
            api_base=url + base,
            api_key="none",
        )
        if text:
            assert [one["document"]["text"] for one in answer.results] == [
                documents[i] for i, _ in _pairs(answer.results)
            ]
        return _pairs(answer.results)

    assert call


_litellm("cohere", "rerank-english-v3.0")
_litellm("hosted_vllm", "any")
_litellm("jina_ai", "jina-reranker-m0")
_litellm(
    "infinity",
    "any",
    "/infinity",
    note="at `URL/infinity`: it sends what `hosted_vllm/` sends, and expects another answer",
)
_litellm("azure_ai", "cohere-rerank-v3.5")
_litellm("together_ai", "any", "/v1")
_litellm("voyage", "rerank-2.5")
_litellm("huggingface", "BAAI/bge-reranker-base")
_litellm("nvidia_nim", "nvidia/rerank", logits=True, images=False, note="documents are not asked for", text=False)


@client("LangChain, CohereRerank", "langchain-cohere")
def langchain_cohere(url: str, documents: Sequence[str], top: int) -> Pairs:
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    compressor = CohereRerank(model="rerank-v3.5", cohere_api_key="none", base_url=url, top_n=top)
    found = compressor.compress_documents([Document(one) for one in documents], QUERY)
    return _places(documents, [(one.page_content, one.metadata["relevance_score"]) for one in found])


@client("LangChain, JinaRerank", "langchain-community", note="the address is a constant of its module")
def langchain_jina(url: str, documents: Sequence[str], top: int) -> Pairs:
    from langchain_community.document_compressors import jina_rerank
    from langchain_core.documents import Document

    jina_rerank.JINA_API_URL = f"{url}/v1/rerank"
    compressor = jina_rerank.JinaRerank(jina_api_key="none", top_n=top)
    found = compressor.compress_documents([Document(one) for one in documents], QUERY)
    return _places(documents, [(one.page_content, one.metadata["relevance_score"]) for one in found])


@client("LangChain, InfinityRerank", "langchain-community")
def langchain_infinity(url: str, documents: Sequence[str], top: int) -> Pairs:
    from infinity_client.client import Client as Infinity
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank
    from langchain_core.documents import Document

    compressor = InfinityRerank(client=Infinity(base_url=url), model="any", top_n=top)
    found = compressor.compress_documents([Document(one) for one in documents], QUERY)
    return _places(documents, [(one.page_content, one.metadata["relevance_score"]) for one in found])


@client("LangChain, VoyageAIRerank", "langchain-voyageai")
def langchain_voyage(url: str, documents: Sequence[str], top: int) -> Pairs:
    from langchain_core.documents import Document
    from langchain_voyageai import VoyageAIRerank

    compressor = VoyageAIRerank(model="rerank-2.5", voyage_api_key="none", base_url=f"{url}/v1", top_k=top)
    found = compressor.compress_documents([Document(one) for one in documents], QUERY)
    return _places(documents, [(one.page_content, one.metadata["relevance_score"]) for one in found])


@client("LangChain, NVIDIARerank", "langchain-nvidia-ai-endpoints", logits=True, images=False)
def langchain_nvidia(url: str, documents: Sequence[str], top: int) -> Pairs:
    from langchain_core.documents import Document
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    compressor = NVIDIARerank(base_url=f"{url}/v1", api_key="none", top_n=top)
    found = compressor.compress_documents([Document(one) for one in documents], QUERY)
    return _places(documents, [(one.page_content, one.metadata["relevance_score"]) for one in found])


def _nodes(processor: Any, documents: Sequence[str]) -> Pairs:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=one), score=0.0) for one in documents]
    found = processor.postprocess_nodes(nodes, query_str=QUERY)
    return _places(documents, [(one.node.get_content(), one.score) for one in found])


@client("LlamaIndex, CohereRerank", "llama-index-postprocessor-cohere-rerank")
def llama_cohere(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return _nodes(CohereRerank(api_key="none", base_url=url, top_n=top), documents)


@client("LlamaIndex, JinaRerank", "llama-index-postprocessor-jinaai-rerank")
def llama_jina(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return _nodes(JinaRerank(api_key="none", base_url=f"{url}/v1", top_n=top), documents)


@client("LlamaIndex, NVIDIARerank", "llama-index-postprocessor-nvidia-rerank", logits=True, images=False)
def llama_nvidia(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

    return _nodes(NVIDIARerank(base_url=f"{url}/v1", api_key="none", top_n=top), documents)


@client("LlamaIndex, TextEmbeddingInference", "llama-index-postprocessor-tei-rerank")
def llama_tei(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return _nodes(TextEmbeddingInference(base_url=url, top_n=top), documents)


@client("LlamaIndex, XinferenceRerank", "llama-index-postprocessor-xinference-rerank")
def llama_xinference(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    return _nodes(XinferenceRerank(base_url=url, model="any", top_n=top), documents)


@client("LlamaIndex, SiliconFlowRerank", "llama-index-postprocessor-siliconflow-rerank")
def llama_siliconflow(url: str, documents: Sequence[str], top: int) -> Pairs:
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

    return _nodes(SiliconFlowRerank(base_url=f"{url}/v1/rerank", api_key="none", top_n=top), documents)


def _haystack(ranker: Any, documents: Sequence[str]) -> Pairs:
    from haystack import Document

    found = ranker.run(query=QUERY, documents=[Document(content=one) for one in documents])["documents"]
    return _places(documents, [(one.content, one.score) for one in found])


@client("Haystack, CohereRanker", "cohere-haystack")
def haystack_cohere(url: str, documents: Sequence[str], top: int) -> Pairs:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return _haystack(CohereRanker(api_key=Secret.from_token("none"), api_base_url=url, top_k=top), documents)


@client("Haystack, JinaRanker", "jina-haystack")
def haystack_jina(url: str, documents: Sequence[str], top: int) -> Pairs:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    return _haystack(JinaRanker(api_key=Secret.from_token("none"), base_url=f"{url}/v1/rerank", top_k=top), documents)


@client("Haystack, NvidiaRanker", "nvidia-haystack", logits=True, images=False)
def haystack_nvidia(url: str, documents: Sequence[str], top: int) -> Pairs:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.nvidia import NvidiaRanker

    ranker = NvidiaRanker(model="any", api_url=f"{url}/v1", api_key=Secret.from_token("none"), top_k=top)
    ranker.warm_up()
    return _haystack(ranker, documents)


def _rerankers(provider: str, path: str) -> None:
    @client(f"rerankers, `{provider}`", "rerankers")
    def call(url: str, documents: Sequence[str], top: int) -> Pairs:
        from rerankers.models.api_rankers import APIRanker

        ranker = APIRanker("any", "none", provider, verbose=0, url=url + path)
        found = ranker.rank(QUERY, list(documents)).top_k(top)
        return _places(documents, [(one.document.text, one.score) for one in found])

    assert call


for _provider, _path in {
    **dict.fromkeys(("cohere", "jina", "voyage"), "/v1/rerank"),
    "mixedbread.ai": "/v1/reranking",
    "text-embeddings-inference": "/rerank",
}.items():
    _rerankers(_provider, _path)


@client("infinity", "infinity-client")
def infinity(url: str, documents: Sequence[str], top: int) -> Pairs:
    from infinity_client.api.default import rerank
    from infinity_client.client import Client as Infinity
    from infinity_client.models import RerankInput

    body = RerankInput(query=QUERY, documents=list(documents), model="any", top_n=top, return_documents=True)
    answer = rerank.sync(client=Infinity(base_url=url), body=body)
    assert [one.document for one in answer.results] == [documents[one.index] for one in answer.results]
    return _pairs(answer.results)


@client("Mixedbread", "mixedbread")
def mixedbread(url: str, documents: Sequence[str], top: int) -> Pairs:
    from mixedbread import Mixedbread

    api = Mixedbread(api_key="none", base_url=url)
    answer = api.rerank(model="any", query=QUERY, input=list(documents), top_k=top, return_input=True)
    assert [one.input for one in answer.data] == [documents[one.index] for one in answer.data]
    return _pairs(answer.data, "score")


@client("Xinference", "xinference-client")
def xinference(url: str, documents: Sequence[str], top: int) -> Pairs:
    from xinference_client import RESTfulClient

    api = RESTfulClient(url)
    (name,) = api.list_models()
    answer = api.get_model(name).rerank(list(documents), QUERY, top_n=top, return_documents=True)
    returned = [one["document"]["text"] for one in answer["results"]]
    assert returned == [documents[one["index"]] for one in answer["results"]]
    return _pairs(answer["results"])


@client("Together", "together")
def together(url: str, documents: Sequence[str], top: int) -> Pairs:
    from together import Together

    api = Together(api_key="none", base_url=url)
    answer = api.rerank.create(model="any", query=QUERY, documents=list(documents), top_n=top, return_documents=True)
    return _pairs(answer.results)


def _aws(service: str, url: str) -> Any:
    import boto3

    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@client("AWS, Bedrock InvokeModel", "boto3")
def bedrock_model(url: str, documents: Sequence[str], top: int) -> Pairs:
    import json

    body = {"query": QUERY, "documents": list(documents), "top_n": top, "api_version": 2}
    answer = _aws("bedrock-runtime", url).invoke_model(modelId="cohere.rerank-v3-5:0", body=json.dumps(body))
    return _pairs(json.loads(answer["body"].read())["results"])


@client("AWS, Bedrock agents' Rerank", "boto3")
def bedrock_agent(url: str, documents: Sequence[str], top: int) -> Pairs:
    sources = [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": one}}} for one in documents
    ]
    arn = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
    answer = _aws("bedrock-agent-runtime", url).rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": QUERY}}],
        sources=sources,
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}, "numberOfResults": top},
        },
    )
    return _pairs(answer["results"], "relevanceScore")


@client("OpenAI, `client.post`", "openai", note="`client.models.list()` too")
def openai(url: str, documents: Sequence[str], top: int) -> Pairs:
    from openai import OpenAI

    api = OpenAI(api_key="none", base_url=f"{url}/v1")
    (model,) = api.models.list().data
    assert api.models.retrieve(model.id).id == model.id
    body = {"model": model.id, "query": QUERY, "documents": list(documents), "top_n": top}
    return _pairs(api.post("/rerank", body=body, cast_to=dict[str, Any])["results"])
