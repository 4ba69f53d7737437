"""Requests and answers: Cohere's v1 and v2, Jina's and vLLM's shapes in one, and ours for PDFs.

A field that no shape here has is refused by name, and so is a number given as a string.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ziprerank.windows import MAX_WINDOW

Extra = Literal["logit", "kept", "timings", "thumbnail"]

_IMAGE = (
    "A JPEG, PNG or WebP image or a PDF: base64, a `data:` URL, or an `https:` URL where the server fetches. "
    "Every page of a PDF is a candidate."
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ImageDocument(_Strict):
    """Jina's image document."""

    image: str = Field(description=_IMAGE)


class TextDocument(_Strict):
    """Cohere's v1 and Jina's text document; needs `render_text`."""

    text: str


class PdfDocument(_Strict):
    """A whole PDF, or some of its pages."""

    pdf: str = Field(description="Base64, a `data:` URL, or an `https:` URL where the server fetches.")
    pages: str | None = Field(None, description="From 1: `1-20`, `3`, `5-` or `1-4,9`; null is all.", examples=["1-20"])
    password: str | None = None


class ImageUrl(_Strict):
    url: str = Field(description=_IMAGE)


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ContentDocument(_Strict):
    """vLLM's document; one part, since a document is one page."""

    content: list[Annotated[ImagePart | TextPart, Field(discriminator="type")]] = Field(min_length=1, max_length=1)


def _shape(value: Any) -> str | None:
    """The case of ``Document``: a string, or an object by the first known key."""
    if isinstance(value, str):
        return STRING
    keys = value.keys() if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else ()
    return next((tag for key, tag in OBJECTS.items() if key in keys), None)


STRING = "a string"
OBJECTS = {key: f"an object with {key}" for key in ("image", "pdf", "content", "text")}

Document = Annotated[
    Annotated[str, Tag(STRING)]
    | Annotated[ImageDocument, Tag(OBJECTS["image"])]
    | Annotated[PdfDocument, Tag(OBJECTS["pdf"])]
    | Annotated[ContentDocument, Tag(OBJECTS["content"])]
    | Annotated[TextDocument, Tag(OBJECTS["text"])],
    Discriminator(
        _shape,
        custom_error_type="document",
        custom_error_message="a document is a string, or an object with image, pdf, content or text",
    ),
]


class Options(_Strict):
    """What a ranking may be asked for, beside its query and its pages."""

    top_n: int | None = Field(None, ge=0, description="How many results; null and 0 are all.")
    keep_ratio: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="Share of each page's visual tokens that the decoder reads."
    )
    window: Literal["auto", "off"] | Annotated[int, Field(ge=1, le=MAX_WINDOW)] = Field(
        "auto", description="Pages in one pass; `auto` is the bundle's, `off` insists on one pass."
    )
    stride: int | None = Field(None, ge=1, description="Pages that the window moves by; null is the bundle's.")
    include: list[Extra] = Field([], max_length=8, description="What results carry beside index and score.")
    thumbnail_side: int = Field(320, ge=32, le=1024, description="Longest side of a thumbnail in pixels.")


class RerankRequest(Options):
    """The body of `/v1/rerank`, `/v2/rerank` and `/rerank`."""

    query: str = Field(description="What to look for.", examples=["dividend shareholders board directors"])
    documents: list[Document] = Field(
        min_length=1,
        description="Page images, PDFs, or texts with `render_text`. A string is an image or a PDF where its base64 "
        "begins as one, a `data:` or `https:` URL, else text.",
    )
    model: str | None = Field(None, description="Any name: this server has one model, which the answer names.")
    return_documents: bool = Field(False, description="Results carry the document as it was sent.")
    render_text: bool = Field(False, description="Draw texts as page images; without it they are refused.")
    # Fields that clients of other servers send by themselves. They set how much of a text is read, or who asks;
    # pages are never cut and requests are served as they come, so they change nothing here.
    max_tokens_per_doc: int | None = Field(None, description="Accepted from Cohere's clients; pages are never cut.")
    max_chunks_per_doc: int | None = Field(None, description="Accepted from Cohere's clients; pages are never cut.")
    truncate_prompt_tokens: int | None = Field(None, description="Accepted from vLLM's clients; pages are never cut.")
    priority: int | None = Field(None, description="Accepted; requests are served as they come.")
    user: str | None = Field(None, description="Accepted; nothing depends on it.")


class Kept(BaseModel):
    """Which visual tokens of a page the decoder read."""

    ratio: float
    rows: int
    columns: int
    tokens: list[int] = Field(description="Ascending, `row * columns + column`.")


class Result(BaseModel):
    index: int = Field(description="Position in `documents`, or of the file; every page of a PDF has its PDF's.")
    page: int | None = Field(None, description="From 1, where the document is a PDF.")
    relevance_score: float = Field(description="Softmax of the logit over the page's last window.")
    document: str | dict[str, Any] | None = None
    logit: float | None = None
    kept: Kept | None = None
    thumbnail: str | None = Field(None, description="A `data:` URL of a JPEG.")


class Usage(BaseModel):
    """Tokens over all passes. The decoder read `text_tokens + kept_tokens`."""

    prompt_tokens: int
    total_tokens: int
    text_tokens: int
    visual_tokens: int = Field(description="Before anything is left out.")
    blank_tokens: int = Field(description="Of blank paper, left out before the model.")
    kept_tokens: int


class ApiVersion(BaseModel):
    version: str


class BilledTokens(BaseModel):
    input_tokens: int
    output_tokens: int = 0


class Timings(BaseModel):
    """Milliseconds. Stages overlap: `pages` is what the engine waited for pixels."""

    prepare: float = Field(description="Fetching, decoding and opening the documents.")
    queue: float
    pages: float
    tokenize: float
    vision: float
    rerank: float
    total: float


class Meta(BaseModel):
    api_version: ApiVersion
    tokens: BilledTokens
    pages: int
    windows: int
    keep_ratio: float
    timings_ms: Timings | None = None
    warnings: list[str] | None = None


class RerankResponse(BaseModel):
    """Results best first. With several windows the order is what counts: a score is its last window's."""

    id: str
    model: str
    results: list[Result]
    usage: Usage
    meta: Meta


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: int
    index: int | None = None


class ErrorResponse(BaseModel):
    """The same message where clients of vLLM, Cohere, and Jina look for it."""

    error: ErrorDetail
    message: str
    detail: str
