"""Documents that clients have sent once, for the rankings that follow: in memory, for a while, each for its own sender.

A document's id is a keyed digest of its sender and its bytes. The key is made when the process starts, so that an id
says nothing about a document or an API key, and nobody can compute it who does not have both and this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time

from ziprerank.serve.failures import Refused
from ziprerank.serve.settings import Settings

LEAST = 4096  # bytes that a document counts for at least, so that small ones are bounded in number
_OFF = "this server keeps no documents: send the file with each request"
_GONE = (
    "no such document: it was not sent with this key to this server, or has expired or given way to others: send the "
    "file again (POST /v1/documents)"
)


@dataclass(slots=True, eq=False)
class Stored:
    """A document that is kept.

    Attributes:
        id: What its sender calls it.
        data: The file.
        pages: How many pages it has.
        used: When it was sent or last ranked (``time.monotonic``).
    """

    id: str
    data: bytes
    pages: int
    used: float

    @property
    def size(self) -> int:
        """The bytes that it counts for."""
        return counted(len(self.data))


def counted(size: int) -> int:
    """Returns how many bytes a document of ``size`` bytes counts for."""
    return max(LEAST, size)


class DocumentStore:
    """The documents that are kept, the least recently used first. Use it from one event loop.

    Attributes:
        held: Bytes that the documents count for.
        removed: Called with the reason whenever a document is removed: ``"expired"``, ``"room"`` or ``"deleted"``.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        """Makes an empty store.

        Args:
            settings: Its limits.
            clock: Seconds that never go back.
        """
        self.held = 0
        self.removed: Callable[[str], None] = lambda _: None
        self._settings = settings
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._documents: OrderedDict[tuple[str, str], Stored] = OrderedDict()
        self._ids: dict[str, OrderedDict[str, None]] = {}  # by sender, in the same order
        self._of = Counter[str]()  # bytes by sender
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Returns the number of documents."""
        return len(self._documents)

    def check(self, size: int) -> None:
        """Refuses a document of so many bytes that cannot be kept whatever gives way to it.

        Raises:
            Refused: The server keeps no documents (404), or none that counts for so much (413).
        """
        self._check_on()
        size, most = counted(size), self._most
        if size > most:
            message = f"the document counts for {size:,} bytes, at most {most:,} are kept for one key"
            raise Refused(413, f"{message}: send it with each request", param="file")

    def add(self, sender: str, data: bytes, pages: int) -> tuple[Stored, bool]:
        """Keeps a document; others that have been unused for longest give way to it.

        Args:
            sender: Who sends it.
            data: The file.
            pages: How many pages it has.

        Returns:
            The document, and whether it is new. One that was there is as if it had just been sent.

        Raises:
            Refused: As ``check``.
        """
        self.check(len(data))
        self.sweep()
        document = Stored(self._id(sender, data), data, pages, self._clock())
        place = sender, document.id
        if (there := self._documents.get(place)) is not None:
            self._touch(place)
            return there, False
        while self._of[sender] + document.size > self._most:
            self._remove((sender, next(iter(self._ids[sender]))), "room")
        while self.held + document.size > self._settings.max_stored_bytes:
            self._remove(next(iter(self._documents)), "room")
        self._documents[place] = document
        self._ids.setdefault(sender, OrderedDict())[document.id] = None
        self.held += document.size
        self._of[sender] += document.size
        self._wake()
        return document, True

    def find(self, sender: str, identity: str, *, use: bool = False) -> Stored:
        """Returns a document of a sender; ``use`` has it count as just used.

        Raises:
            Refused: There is none (404), whether it never was there or belongs to somebody else, or the server keeps no
                documents (404).
        """
        self._check_on()
        self.sweep()
        place = sender, identity
        if (document := self._documents.get(place)) is None:
            raise Refused(404, _GONE, kind="document_not_found")
        if use:
            self._touch(place)
        return document

    def delete(self, sender: str, identity: str) -> None:
        """Removes a document of a sender; a ranking that reads it goes on. Raises Refused as ``find``."""
        self.find(sender, identity)
        self._remove((sender, identity), "deleted")

    def expires_at(self, document: Stored) -> float:
        """Returns when a document is removed unless it is used before, in seconds since 1970."""
        return time() + document.used + self._settings.keep_stored - self._clock()

    def sweep(self) -> None:
        """Removes the documents that have expired."""
        last = self._clock() - self._settings.keep_stored
        while self._documents:
            place, document = next(iter(self._documents.items()))
            if document.used > last:
                break
            self._remove(place, "expired")

    def close(self) -> None:
        """Removes all documents."""
        if self._timer is not None:
            self._timer.cancel()
        self._documents.clear()
        self._ids.clear()
        self._of.clear()
        self.held = 0

    @property
    def _most(self) -> int:
        """The bytes that one sender may keep."""
        total = self._settings.max_stored_bytes
        return min(total, self._settings.max_stored_bytes_per_key) if self._settings.api_keys else total

    def _check_on(self) -> None:
        if self._most == 0:
            raise Refused(404, _OFF, kind="documents_off")

    def _id(self, sender: str, data: bytes) -> str:
        digest = hashlib.blake2b(sender.encode() + b"\0", key=self._secret, digest_size=20)  # no sender has a zero byte
        digest.update(data)
        return f"doc_{digest.hexdigest()}"

    def _touch(self, place: tuple[str, str]) -> None:
        sender, identity = place
        self._documents[place].used = self._clock()
        self._documents.move_to_end(place)
        self._ids[sender].move_to_end(identity)

    def _remove(self, place: tuple[str, str], why: str) -> None:
        sender, identity = place
        document = self._documents.pop(place)
        self.held -= document.size
        self._of[sender] -= document.size
        del self._ids[sender][identity]
        if not self._ids[sender]:
            del self._ids[sender], self._of[sender]
        self.removed(why)

    def _wake(self) -> None:
        """Has the first document removed when its time is over, also if nobody asks for anything until then."""
        if self._timer is not None or not self._documents:
            return
        rest = next(iter(self._documents.values())).used + self._settings.keep_stored - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, rest), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.sweep()
        self._wake()
