"""What every data set gives: queries with their relevant pages, and the pages themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ziprerank.errors import InvalidInput
from ziprerank.inputs.pages import PageInput


@dataclass(frozen=True, slots=True)
class Query:
    """One query.

    Attributes:
        id: Unique, without white space.
        text: What is looked for.
        relevant: Grade of each judged page by its id, 0 for one that is not relevant; None if nobody judged the query.
        group: What macro averages go over, such as a domain; "" for data without groups.
        document: The document that the query asks about; None if it asks about the whole corpus.
        given: The data's own candidates in their order; None if it has none, and all of ``Data.pool`` are.
        fault: Why the query cannot be ranked; None if it can.
    """

    id: str
    text: str
    relevant: Mapping[str, int] | None
    group: str = ""
    document: str | None = None
    given: Sequence[str] | None = None
    fault: str | None = None


@dataclass(slots=True)
class Data(ABC):
    """A data set, whose pages have ids without white space.

    Attributes:
        path: Its folder.
        queries: All of them, in the order in which they are ranked: those of one document follow each other.
        domains: The groups that macro averages go over, those without a query too; empty: the groups of the queries.
        given_name: Name of the data's own order of candidates, as a system.
    """

    path: Path
    queries: list[Query] = field(default_factory=list)
    domains: tuple[str, ...] = ()
    given_name: str = "given order"

    @property
    @abstractmethod
    def format(self) -> str:
        """Name of the format."""

    @abstractmethod
    def pool(self, document: str | None) -> Sequence[str]:
        """The pages of a document, or of the whole corpus for None, in their order."""

    @abstractmethod
    def inputs(self, pages: Sequence[str]) -> list[PageInput]:
        """What ``Reranker.rank`` takes for these pages, a candidate for each and in this order.

        A picture that turns out to have several pages is the one exception, which ``systems.candidates`` finds.

        Raises:
            InvalidInput: There is no such page, or its picture is missing.
        """

    @abstractmethod
    def texts(self, pages: Collection[str]) -> Mapping[str, str]:
        """The text of each page that BM25 ranks by.

        Raises:
            InvalidInput: The data has no text.
        """

    @contextmanager
    def opened(self, pages: Collection[str], scratch: Path) -> Iterator[None]:  # noqa: ARG002
        """Makes ``inputs`` quick for these pages while the context is open.

        Args:
            pages: The pages that will be ranked.
            scratch: A folder that the data may fill; it stays until the run is complete.
        """
        yield


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: half a surrogate pair, which JSON may hold as an escape, is no text."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def checked_id(value: object, where: str) -> str:
    """Returns an id as text. Raises InvalidInput for one that a run file cannot hold."""
    text = str(value)
    if value is None or not text or not is_text(text) or any(letter.isspace() for letter in text):
        raise InvalidInput(f"{where}: the id {value!r} must be text without white space, as run files need it")
    return text


def unique(queries: Sequence[Query], where: object) -> list[Query]:
    """Returns the queries as a list. Raises InvalidInput if two have the same id, or there is none."""
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise InvalidInput(f"{where}: two queries have the id {query.id!r}: give every query its own")
        seen.add(query.id)
    if not queries:
        raise InvalidInput(f"{where}: there is no query in it")
    return list(queries)
