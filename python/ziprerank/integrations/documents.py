"""Which page a framework's document shows, of an image or a PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.errors import InvalidInput, PageError, quoted, said_for
from ziprerank.inputs.media import decode_media, is_encoded_page, is_url
from ziprerank.values import whole_number

Data: TypeAlias = "Path | bytes | Image.Image | NDArray[np.uint8]"

_LABEL_KEY = "page_label"  # where LlamaIndex and LangChain write a PDF's printed labels
_NUMERIC = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class DocumentPage:
    """The page that a document shows, or its text where it shows none.

    Attributes:
        data: An image, or a path or the bytes of an image or PDF file; None for a text alone.
        page: Page of a PDF: its number from 1, or its printed label (such as ``"iv"``) as a string; None is the only
            page, or every page where ``open_documents`` is told so.
        hint: Where the framework's documents keep the page, for errors.
        text: What is read behind the page, or alone, by bundles whose prompt has a place for it.
        refusal: The error for all other bundles; None: they leave the text out.
    """

    data: Data | None
    page: int | str | None = None
    hint: str = "a page number"
    text: str | None = None
    refusal: PageError | None = None


@dataclass(frozen=True, slots=True)
class MetadataRules:
    """Where a framework's loaders write which page a document came from.

    Attributes:
        path_key: Metadata key of the file's path.
        page_key: Metadata key of the page in a PDF; strings under ``page_label`` are printed labels, even ``"1"``.
        first_page: Number that the metadata give to a PDF's first page.
        root: Folder that paths are relative to and must stay in; None allows all paths.
    """

    path_key: str
    page_key: str
    first_page: int = 1
    root: str | None = None

    def read(self, metadata: Mapping[str, Any]) -> DocumentPage | None:
        """Returns the page that a document's metadata name, or None if they name no file. Raises InvalidInput."""
        path = metadata.get(self.path_key)
        if path is None or path == "":
            return None
        if not isinstance(path, (str, Path)):
            raise InvalidInput(f"metadata[{self.path_key!r}] is a {type(path).__name__}: give the path of a file")
        return self.file(path, metadata)

    def file(self, path: str | Path, metadata: Mapping[str, Any]) -> DocumentPage:
        """Returns the page of the file at ``path`` that the metadata name.

        Args:
            path: Path of an image or PDF file.
            metadata: The document's metadata.

        Raises:
            InvalidInput: ``path`` is a URL or outside ``root``, or the page is neither a number nor a label.
        """
        return DocumentPage(self._inside_root(path), self.page(metadata), f"metadata[{self.page_key!r}]")

    def page(self, metadata: Mapping[str, Any]) -> int | str | None:
        """Returns the page that the metadata name: its number from 1, its label, or None. Raises InvalidInput."""
        page = metadata.get(self.page_key)
        if isinstance(page, str) and self.page_key == _LABEL_KEY:
            return page
        return page_of(page, f"metadata[{self.page_key!r}]", self.first_page)

    def _inside_root(self, path: str | Path) -> Path:
        if is_url(str(path)):
            raise InvalidInput(f"{path} is a URL, which is not fetched: download it and give the file's path")
        if self.root is None:
            return Path(path)
        try:
            root = Path(self.root).resolve()
            inside = (root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links; a NUL in the name
            raise InvalidInput(f"{quoted(str(path))} cannot be followed inside {self.root}: {error}") from error
        if not inside.is_relative_to(root):
            raise InvalidInput(f"{path} is outside the root path {self.root}: move the file there")
        return inside


def page_of(value: object, name: str, first_page: int = 1) -> int | str | None:
    """Reads a page by its value and not by its type: ``1``, ``1.0``, ``np.int64(1)`` and ``"1"`` are the same page.

    Args:
        value: The page as a document gives it.
        name: Where the document gives it, for errors.
        first_page: Number of a PDF's first page there.

    Returns:
        The page's number from 1; a string that is not a whole number, which is a printed label; or None.

    Raises:
        InvalidInput: The page is neither a whole number nor a string, or is below ``first_page``.
    """
    if value is None:
        return None
    number = whole_number(value)
    if isinstance(value, str):
        if _NUMERIC.fullmatch(value.strip()) is None:
            return value
        number = int(float(value))
    if number is None:
        raise InvalidInput(f"{name} is {quoted(value)}: give a whole number")
    if number < first_page:
        raise InvalidInput(f"{name} is {value}: pages are counted from {first_page} here")
    return number - first_page + 1


def encoded_page(text: str | bytes, page: int | str | None = None, hint: str = "a page number") -> DocumentPage:
    """Returns the page of a file that a document holds.

    Args:
        text: The file's bytes, or its base64 or ``data:`` URL.
        page: As in ``DocumentPage``.
        hint: As in ``DocumentPage``.

    Raises:
        InvalidInput: The string is not valid base64, or the file is empty.
    """
    return DocumentPage(text if isinstance(text, bytes) else decode_media(text), page, hint)


def page_in_text(text: str) -> Path | bytes | None:
    """Returns the bytes of a page encoded in a string, the path that it gives, or None if it is words.

    Use it only on strings of the caller, never on text from documents, since it looks at the file system.
    """
    if is_encoded_page(text):
        return decode_media(text)
    if len(text) < 4096 and "\0" not in text and Path(text).is_file():
        return Path(text)
    return None


def text_alone(index: int, name: str, ways: str, text: str | None) -> DocumentPage:
    """Returns a document that has only text, which bundles refuse whose prompt has no place for it.

    Args:
        index: 0-based position of the document.
        name: The document's name in the error.
        ways: How the framework's documents can show a page.
        text: The text.

    Raises:
        PageError: There is no text either.
    """
    refusal = no_page(index, name, ways)
    if not text:
        raise refusal
    return DocumentPage(None, text=text, refusal=refusal)


def no_page(index: int, name: str, ways: str) -> PageError:
    """Returns the error for a document that has only text; its arguments are those of ``text_alone``."""
    reason = f"it has text only, but pages are ranked by their images: {ways}"
    return PageError(reason, source=name, index=index)


PASSWORD_WAY_HERE = "with the option password"


def said_here(error: PageError) -> PageError:
    """Returns the error with the adapters' way to give a password."""
    reason = said_for(error.reason, PASSWORD_WAY_HERE)
    return PageError(reason, source=error.source, page=error.page, index=error.index)


@contextmanager
def at_index(index: int) -> Iterator[None]:
    """Adds the document's index to every error."""
    try:
        yield
    except PageError as error:
        raise said_here(error).at(index) from error
    except (InvalidInput, OSError) as error:
        raise PageError(str(error), source="document", index=index) from error
