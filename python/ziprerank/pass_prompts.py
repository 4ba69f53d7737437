"""The prompt of a pass: one for all windows of as many pages, or one for each document that is scored by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.texted_page import has_pixels, text_of
from ziprerank.prompt import Prompt, PromptBuilder


def check_texts(prompts: PromptBuilder, sources: Sequence[PageSource]) -> None:
    """Checks the texts of documents before anything runs.

    Raises:
        PageError: The bundle's prompt has no place for a text, or the text cannot be used; the error has the index.
    """
    for index, source in enumerate(sources):
        text = text_of(source)
        if text is None:
            continue
        try:
            prompts.check_document_text(text)
        except InvalidInput as error:
            raise PageError(str(error), source=source.source, page=source.page, index=index) from error


def pass_prompt(
    prompts: PromptBuilder,
    query: str,
    instruction: str,
    candidates: Sequence[int],
    sources: Sequence[PageSource],
    warn: Callable[[int, str], None],
) -> Prompt:
    """Builds the prompt of a pass; that of letters depends on the candidates' number alone.

    Args:
        prompts: The bundle's.
        query: What ``check_query`` returned.
        instruction: What ``check_instruction`` returned.
        candidates: Indices of the pass's candidates; one, where each is scored by itself.
        sources: All candidates.
        warn: Called with a candidate and what to say of it where the bundle's limit leaves tokens out.

    Raises:
        PageError: The prompt cannot be built for what is in a document's text, or is too long with it.
        InvalidInput: A control token of the model forms at the edge of the query or the instruction.
    """
    if not prompts.pointwise:
        return prompts.build(query, len(candidates), instruction)
    (candidate,) = candidates
    source = sources[candidate]
    text = text_of(source)
    try:
        asked = prompts.build(query, int(has_pixels(source)), instruction, text)
        fitted, left_out = prompts.fit(asked, prompts.visual_tokens(source.size))
    except InvalidInput as error:
        if text is None:
            raise
        raise PageError(str(error), source=source.source, page=source.page, index=candidate) from error
    if left_out:
        warn(candidate, f"{left_out:,} tokens of its prompt were left out, which has {prompts.most_tokens:,} at most")
    return fitted
