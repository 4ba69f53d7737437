"""The fields shared by the adapters that are pydantic models. The engine loads at the first query."""

from __future__ import annotations

from dataclasses import asdict, fields

from pydantic import ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from ziprerank.budget import BUDGET
from ziprerank.first_stage.stage import CANDIDATES, CANDIDATES_HELP, FIRST_STAGE, FirstStage
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.integrations.documents import MetadataRules
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import RankOptions
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine_fields import EngineFields
from ziprerank.scales import SCALE, Scale
from ziprerank.strategies import STRATEGY, StrategyOption
from ziprerank.windows import MAX_WINDOW, WindowOption


class PydanticOptions(EngineFields):
    """Options of an adapter. Serialising writes the engine options of a given ``reranker`` in its place."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    top_n: int | None = Field(default=None, ge=1, description="Most documents to return; None is all.")
    keep_ratio: float | None = Field(
        default=None, gt=0, le=1, description="Share of each page's visual tokens that the decoder reads."
    )
    window: WindowOption = Field(default="auto", description=f"Pages in one pass: 1..{MAX_WINDOW}, 'auto' or 'off'.")
    stride: int | None = Field(default=None, description="Pages that the window moves by.")
    instruction: str | None = Field(
        default=None, description="What makes a page relevant, for bundles whose prompt has a place for it."
    )
    scale: Scale = Field(default="probability", description=SCALE)
    password: SecretStr | None = Field(default=None, description="Password of encrypted PDFs.")
    on_bad_page: OnBadPage = Field(
        default="raise", description=f"{ON_BAD_PAGE} A Python warning (PageWarning) names what is skipped."
    )
    strategy: StrategyOption = Field(default="auto", description=STRATEGY)
    first_stage: FirstStage = Field(default="auto", description=FIRST_STAGE)
    candidates: int | None = Field(default=None, ge=1, description=f"{CANDIDATES_HELP} None is {CANDIDATES}.")
    budget_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False, description=BUDGET)
    path_key: str = Field(default="file_path", description="Metadata key of the PDF's or the image's path.")
    page_key: str = Field(default="page_number", description="Metadata key of the page in a PDF.")
    first_page: int = Field(default=1, description="Number of a PDF's first page in the metadata.")
    root_path: str | None = Field(default=None, description="Folder that paths are relative to and must stay in.")
    reranker: Reranker | LazyReranker | None = Field(
        default=None, exclude=True, repr=False, description="A loaded reranker, which several adapters may share."
    )

    @model_validator(mode="after")
    def _take_reranker(self) -> Self:
        lazy = self.reranker = LazyReranker.of(self.reranker, self.engine_options())
        if lazy.loadable:
            for name, value in asdict(lazy.options).items():
                setattr(self, name, value)
        return self

    def _loaded_reranker(self) -> Reranker:
        assert isinstance(self.reranker, LazyReranker)  # set by _take_reranker
        return self.reranker.get()

    def _rank_options(self) -> RankOptions:
        password = None if self.password is None else self.password.get_secret_value()
        given = {one.name: getattr(self, one.name) for one in fields(RankOptions)}
        return RankOptions(**{**given, "password": password})

    def _metadata_rules(self) -> MetadataRules:
        return MetadataRules(self.path_key, self.page_key, self.first_page, self.root_path)
