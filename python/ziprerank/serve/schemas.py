"""The bodies of requests and answers: the shapes of Cohere v1 and v2, Jina and vLLM in one, and our own for PDFs.

Other shapes are turned into these before (``dialects``). A field that is none of any API is rejected by its name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from ziprerank.budget import BUDGET
from ziprerank.first_stage.stage import CANDIDATES, CANDIDATES_HELP, FIRST_STAGE, FirstStage, StageDone
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.prompt import MAX_QUERY_CHARACTERS, MAX_TEXT_CHARACTERS
from ziprerank.scales import SCALE, Scale
from ziprerank.strategies import STRATEGY, Strategy, StrategyOption
from ziprerank.windows import MAX_WINDOW

MOST_QUERY, MOST_RANGE, MOST_PASSWORD, MOST_ID = MAX_QUERY_CHARACTERS, 10_000, 1_000, 100  # characters
Extra = Literal["logit", "kept", "passes", "timings", "thumbnail"]

STREAM = (
    "Whether the answer comes in events (`text/event-stream`): `progress`, then `result` or `error`. Where it is not "
    "said: if `Accept` names `text/event-stream` and not `application/json`."
)
_IMAGE = (
    "A PDF or an image (JPEG, PNG, WebP, TIFF, GIF, BMP, JPEG 2000, AVIF or HEIC), as base64, a `data:` URL, or an "
    "`https:` URL if the server fetches URLs. Every page of a PDF or a TIFF is a candidate."
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ImageDocument(_Strict):
    """An image document as in Jina's API, with words beside it for models that read them."""

    image: str = Field(description=_IMAGE)
    text: str | None = Field(None, max_length=MAX_TEXT_CHARACTERS, description="Read behind the page, if at all.")


class TextDocument(_Strict):
    """A text document as in Cohere's v1 and Jina's API, for models that read texts; else it needs `render_text`."""

    text: str


class PdfDocument(_Strict):
    """A whole PDF, or some of its pages."""

    pdf: str = Field(description="Base64, a `data:` URL, or an `https:` URL if the server fetches URLs.")
    pages: str | None = Field(
        None,
        max_length=MOST_RANGE,
        description="From 1: `1-20`, `3`, `5-` or `1-4,9`; null is all.",
        examples=["1-20"],
    )
    password: str | None = Field(None, max_length=MOST_PASSWORD)


class StoredDocument(_Strict):
    """A document that was sent to `/v1/documents`, or some of its pages."""

    document_id: str = Field(max_length=MOST_ID, description="As `/v1/documents` answered it.")
    pages: str | None = Field(
        None, max_length=MOST_RANGE, description="Of a PDF or a TIFF, from 1: `1-20`, `3` or `1-4,9`; null is all."
    )
    password: str | None = Field(None, max_length=MOST_PASSWORD)


class ImageUrl(_Strict):
    url: str = Field(description=_IMAGE)


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ContentDocument(_Strict):
    """A document as in vLLM's API: one page, one text, or a page with a text behind it."""

    content: list[Annotated[ImagePart | TextPart, Field(discriminator="type")]] = Field(min_length=1, max_length=2)

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if len(self.content) == 2 and [part.type for part in self.content] != ["image_url", "text"]:
            raise PydanticCustomError("document", "a document is one page, with words behind it or without")
        return self


def _shape(value: Any) -> str | None:
    """Returns the tag of a ``Document``: that of strings, or of the object's first known key; None if it has none."""
    if isinstance(value, str):
        return STRING
    keys = value.keys() if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else ()
    return next((tag for key, tag in OBJECTS.items() if key in keys), None)


STRING = "a string"
OBJECTS = {key: f"an object with {key}" for key in ("image", "pdf", "content", "text", "document_id")}

Document = Annotated[
    Annotated[str, Tag(STRING)]
    | Annotated[ImageDocument, Tag(OBJECTS["image"])]
    | Annotated[PdfDocument, Tag(OBJECTS["pdf"])]
    | Annotated[ContentDocument, Tag(OBJECTS["content"])]
    | Annotated[TextDocument, Tag(OBJECTS["text"])]
    | Annotated[StoredDocument, Tag(OBJECTS["document_id"])],
    Discriminator(
        _shape,
        custom_error_type="document",
        custom_error_message="a document is a string, or an object with image, pdf, content, text or document_id",
    ),
]


class Options(_Strict):
    """The options of a ranking."""

    top_n: int | None = Field(None, ge=0, description="Number of results; null and 0 return all.")
    keep_ratio: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="Share of each page's visual tokens that the decoder reads."
    )
    window: Literal["auto", "off"] | Annotated[int, Field(ge=1, le=MAX_WINDOW)] = Field(
        "auto", description="Pages in one pass; `auto` is the bundle's default, `off` demands a single pass."
    )
    stride: int | None = Field(None, ge=1, description="Pages that the window moves by; null is the bundle's default.")
    strategy: StrategyOption = Field("auto", description=STRATEGY)
    first_stage: FirstStage = Field("auto", description=FIRST_STAGE)
    candidates: int | None = Field(None, ge=1, description=f"{CANDIDATES_HELP} Null is {CANDIDATES}.")
    budget_ms: float | None = Field(None, gt=0, allow_inf_nan=False, description=BUDGET)
    instruction: str | None = Field(
        None,
        max_length=MOST_QUERY,
        description="What makes a page relevant, for a model whose prompt has a place for it. Null is the model's own.",
    )
    on_bad_page: OnBadPage | None = Field(
        None, description=f"{ON_BAD_PAGE} `meta.skipped` names what was skipped. Null is the server's default."
    )
    scale: Scale | None = Field(None, description=f"{SCALE} Null is the server's default.")
    include: list[Extra] = Field([], max_length=8, description="What to return in addition to index and score.")
    thumbnail_side: int = Field(320, ge=32, le=1024, description="Longest side of a thumbnail in pixels.")

    @field_validator("window", mode="wrap")
    @classmethod
    def _check_window(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        try:
            return check(value)
        except ValidationError:  # one of each type
            raise PydanticCustomError("window", "must be 1..{most}, 'auto' or 'off'", {"most": MAX_WINDOW}) from None


class RerankRequest(Options):
    """The body of `/v1/rerank`, `/v2/rerank` and `/rerank`."""

    query: str = Field(
        max_length=MOST_QUERY, description="What to look for.", examples=["dividend shareholders board directors"]
    )
    documents: list[Document] = Field(
        min_length=1,
        description="Page images, PDFs, or texts with `render_text`. A string is read as a file if it is a `data:` or "
        "`https:` URL or the base64 of an image or a PDF; any other string is text.",
    )
    model: str | None = Field(None, description="Any name; the server has one model, which the answer names.")
    stream: bool | None = Field(None, description=STREAM)
    return_documents: bool = Field(False, description="Whether each result carries its document, as an object.")
    render_text: bool | None = Field(
        None,
        description="Whether texts are drawn as page images; otherwise they are rejected. Null: as the server does.",
    )


class Kept(BaseModel):
    """The visual tokens of a page that the decoder read."""

    ratio: float = Field(description="Their share of the page's; 0 for a text alone, which has none.")
    rows: int
    columns: int
    tokens: list[int] = Field(description="Ascending positions, `row * columns + column`.")


class Result(BaseModel):
    """One ranked page."""

    index: int = Field(description="Position of the page's document in `documents`, or of its file in `files`.")
    page: int | None = Field(None, description="Number of the page from 1 if the document has pages (PDF, TIFF).")
    relevance_score: float = Field(
        description="Falls from result to result; `scale` says what it is. A page that the model has not read, which "
        "has no `passes`, is put just under the last one that it has: leave such pages out before a threshold."
    )
    document: dict[str, Any] | None = Field(
        None, description="As it was sent; a string under `text`, content parts under `multi_modal`."
    )
    logit: float | None = None
    passes: list[int] | None = Field(
        None, description="Numbers from 1 of the passes that held the page; none if the first stage left it behind."
    )
    kept: Kept | None = None
    warnings: list[str] | None = Field(None, description="What the pixels of the page do not show.")
    thumbnail: str | None = Field(None, description="A `data:` URL of a JPEG.")


class Usage(BaseModel):
    """Tokens, summed over all passes. The decoder read `text_tokens + kept_tokens`."""

    prompt_tokens: int
    total_tokens: int
    text_tokens: int
    visual_tokens: int = Field(description="Visual tokens of the whole pages.")
    blank_tokens: int = Field(description="Visual tokens of blank paper that were left out before the model.")
    kept_tokens: int = Field(description="Visual tokens left after pruning.")


class ApiVersion(BaseModel):
    version: str


class BilledTokens(BaseModel):
    input_tokens: int
    output_tokens: int = 0


class Timings(BaseModel):
    """Milliseconds of each stage. Stages overlap: `pages` is the time that the engine waited for pixels."""

    prepare: float = Field(description="Fetching, decoding and opening the documents.")
    queue: float
    pages: float
    tokenize: float
    vision: float
    rerank: float
    total: float


class Skipped(BaseModel):
    """A page, or a whole document, that could not be ranked."""

    index: int = Field(description="Position of the document, as in a result.")
    page: int | None = Field(None, description="Number of the page from 1; none if the document cannot be opened.")
    reason: str


class Budget(BaseModel):
    """What was chosen for `budget_ms`."""

    budget_ms: float
    candidates: int = Field(description="In force where a first stage picks pages.")
    keep_ratio: float
    estimated_ms: float
    fits: bool = Field(description="Whether the estimate is within the budget; if not, nothing cheaper was possible.")


class Meta(BaseModel):
    api_version: ApiVersion
    tokens: BilledTokens
    pages: int
    windows: int = Field(description="Passes.")
    first_stage: StageDone = Field(description="What picked the pages that the model has read.")
    strategy: Strategy
    keep_ratio: float
    budget: Budget | None = None
    scale: Scale = Field(description="What `relevance_score` is.")
    timings_ms: Timings | None = None
    warnings: list[str] | None = Field(None, description="Also those of pages that `results` leave out.")
    skipped: list[Skipped] | None = Field(None, description="What could not be ranked, with `on_bad_page` `skip`.")


class RerankResponse(BaseModel):
    """The results, best first; their scores fall, on every scale."""

    id: str
    model: str
    results: list[Result]
    usage: Usage
    meta: Meta


class KeptDocument(BaseModel):
    """A document that the server keeps for its sender."""

    document_id: str = Field(description="For `document_id` in requests; the same for the same file.")
    pages: int
    max_pages: int = Field(description="Most pages that one ranking takes; of more, name some of them in `pages`.")
    bytes: int
    expires_at: int = Field(description="In seconds since 1970; later if the document is ranked or sent before.")


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: int
    index: int | None = None


class ErrorPlace(BaseModel):
    """A field at fault, as FastAPI names it."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorResponse(BaseModel):
    """An error; the message is repeated where clients of vLLM, Cohere, Jina and FastAPI look for it."""

    error: ErrorDetail
    message: str
    detail: str | list[ErrorPlace] = Field(description="With status 422 a list, as FastAPI's, else the message.")
