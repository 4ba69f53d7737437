"""The fields that the adapters on pydantic models share. The engine loads when the first query comes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from ziprerank.integrations.documents import MetadataRules
from ziprerank.integrations.engine import EngineOptions, LazyReranker
from ziprerank.integrations.ranking import RankOptions, Scale
from ziprerank.reranker import POOL_BYTES, Reranker
from ziprerank.windows import WindowOption


class PydanticOptions(BaseModel):
    """Serialises without ``reranker``: a handed-in one leaves its bundle, provider, threads and pool size instead."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    top_n: int | None = Field(default=None, ge=1, description="How many to return; None is all.")
    bundle: str | None = Field(default=None, description="Folder of a bundle; None is the one in the package.")
    provider: str = Field(default="cpu", description="cpu, cuda, cuda:N, or auto.")
    threads: int = Field(default=0, ge=0, description="Threads of the engine; 0 lets ONNX Runtime choose.")
    pool_bytes: int = Field(default=POOL_BYTES, ge=1, description="Memory for page features, kept over queries.")
    keep_ratio: float | None = Field(default=None, gt=0, le=1, description="Share of visual tokens read.")
    window: WindowOption = Field(default="auto", description="Pages in one pass: 1..20, 'auto' or 'off'.")
    stride: int | None = Field(default=None, description="Pages that the window moves by.")
    scale: Scale = Field(default="probability", description="What a score is: 'probability' in its window, or 'logit'.")
    path_key: str = Field(default="file_path", description="Metadata key of the PDF's or the image's path.")
    page_key: str = Field(default="page_number", description="Metadata key of the page in a PDF.")
    first_page: int = Field(default=1, description="The number of a PDF's first page in the metadata.")
    root_path: str | None = Field(default=None, description="Folder that paths are relative to and must stay in.")
    reranker: Reranker | LazyReranker | None = Field(
        default=None, exclude=True, repr=False, description="A loaded reranker, which several adapters may share."
    )

    @model_validator(mode="after")
    def _take_reranker(self) -> Self:
        given = EngineOptions(self.bundle, self.provider, self.threads, self.pool_bytes)
        lazy = self.reranker = LazyReranker.of(self.reranker, given)
        self.bundle, self.provider = lazy.options.bundle, lazy.options.provider
        self.threads, self.pool_bytes = lazy.options.threads, lazy.options.pool_bytes
        return self

    def _loaded_reranker(self) -> Reranker:
        assert isinstance(self.reranker, LazyReranker)  # _take_reranker
        return self.reranker.get()

    def _rank_options(self) -> RankOptions:
        return RankOptions(self.keep_ratio, self.window, self.stride, self.scale)

    def _metadata_rules(self) -> MetadataRules:
        return MetadataRules(self.path_key, self.page_key, self.first_page, self.root_path)
