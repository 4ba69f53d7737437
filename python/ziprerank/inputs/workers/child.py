"""What a page worker does: it reads files on behalf of its parent, one request at a time, and ends with it."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.local_file import LocalFile
from ziprerank.inputs.workers.channel import Ended, Message, receive_with_descriptors, send

METHODS = ("pages", "points", "labels", "texts", "render", "image_pages", "image", "picture")
"""the methods of ``LocalFile`` that a parent may ask for"""
DRAWING = ("render", "image", "picture")
"""those of them that fill a canvas"""

_MOST_FILES = 16  # open at a time; a worker asks for a file again that it has closed
_OPEN_FILES = Path("/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd")
_OVER = 4 << 30  # bytes over the bound on memory, as much as a picture of PDFium can have
_GRACE = 2.0  # seconds after the deadline: the parent is to end this process first


def serve(link: socket.socket, life: int) -> None:
    """Answers requests until the parent closes the connection; does not return.

    Args:
        link: The connection.
        life: A pipe's end to read from, whose other end the parent alone holds, and writes nothing to.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    import ziprerank.inputs.pdf  # noqa: F401  # takes most of the start, which nobody waits for yet

    desk = Desk()
    try:
        send(link, {"ready": True})
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)  # so far it told the parent why this process could not start
        os.close(silence)
        while True:
            request, descriptors = receive_with_descriptors(link)
            with _mortal(life, float(request["seconds"])):
                reply = desk.answer(request, descriptors)
            send(link, reply)
    except Ended:
        os._exit(0)


class Desk:
    """The files that are open here, and the memory that is shared with the parent."""

    def __init__(self) -> None:
        self._files: OrderedDict[int, tuple[LocalFile, int]] = OrderedDict()  # with descriptors; the oldest first
        self._shared: mmap.mmap | None = None
        self._own = _allocated()
        self._most = 0
        self._shape: tuple[int, int] | None = None

    def answer(self, request: Message, descriptors: list[int]) -> Message:
        """Returns the reply: ``result`` and perhaps ``shape``, ``missing`` for an unknown file, or ``error``."""
        for key in request.get("close", ()):
            self._close(key)
        try:
            return self._answer(request, descriptors)
        except PageError as error:
            return {"error": error.reason, "page": error.page}
        except InvalidInput as error:
            return {"error": str(error), "page": None}
        except OSError as error:
            return {"error": f"the file cannot be read: {error}", "page": None}
        except MemoryError:
            return {"memory": True}
        except Exception as error:  # of a library, on a damaged file
            return {"error": f"it cannot be read: {type(error).__name__}: {error}", "page": None}
        finally:
            for one in descriptors:
                os.close(one)

    def _answer(self, request: Message, descriptors: list[int]) -> Message:
        if "canvas" in request:
            shared = descriptors.pop(0)
            self._shared = mmap.mmap(shared, int(request["canvas"]))
            os.close(shared)
        if "do" not in request:
            return {"result": None}
        if request["do"] not in METHODS:
            raise InvalidInput(f"{request['do']!r} is not known")
        self._bound(int(request["memory"]))
        kept = request["kind"] == "pdf"
        key = int(request["key"])
        if kept and key in self._files:
            self._files.move_to_end(key)
            file = self._files[key][0]
        elif "path" not in request and not descriptors:
            return {"missing": True}
        else:
            file = self._open(request, key, descriptors, kept)
        arguments: dict[str, Any] = dict(request["arguments"])
        self._shape = None
        if request["do"] in DRAWING:
            arguments["canvas"] = self._canvas
        result = getattr(file, request["do"])(**arguments)
        return {"result": result, "shape": self._shape}

    def _open(self, request: Message, key: int, descriptors: list[int], kept: bool) -> LocalFile:
        name, password = str(request["name"]), request.get("password")
        held = -1 if "path" in request else descriptors.pop(0)
        try:
            file = LocalFile(Path(request["path"]) if held < 0 else _OPEN_FILES / str(held), name, password)
            if kept:
                file.pages()  # raises if it cannot be opened, and is not kept then
                self._files[key] = file, held
                held = -1
        finally:
            if held >= 0:
                descriptors.append(held)  # for this request alone
        if len(self._files) > _MOST_FILES:
            self._close(next(iter(self._files)))
        return file

    def _close(self, key: int) -> None:
        if key in self._files:
            file, held = self._files.pop(key)
            file.close()
            if held >= 0:
                os.close(held)

    def _canvas(self, height: int, width: int) -> memoryview:
        if self._shared is None or height * width * 3 > len(self._shared):
            raise InvalidInput(f"a picture of {width} x {height} px is larger than was asked for")
        self._shape = height, width
        return memoryview(self._shared)[: height * width * 3]

    def _bound(self, memory: int) -> None:
        """Lets allocations fail far over the bound, at which the parent ends this process: it may be slow."""
        most = self._own + memory + _OVER
        if most != self._most and most < sys.maxsize:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
            self._most = most


@contextmanager
def _mortal(life: int, seconds: float) -> Iterator[None]:
    """Ends this process, whatever code it runs, when its parent dies or the time is over.

    The pipe signals its end and nothing else. The connection would not do: a request is here to be read before the
    system signals that it has come, and a parent that loses its processor in between would end a worker that is well.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
    flags = fcntl.fcntl(life, fcntl.F_GETFL)
    fcntl.fcntl(life, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        ended = select.poll()
        ended.register(life, select.POLLIN)
        if ended.poll(0):
            os._exit(0)  # it died before
        yield
    finally:
        fcntl.fcntl(life, fcntl.F_SETFL, flags)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _allocated() -> int:
    """Bytes that ``RLIMIT_DATA`` counts of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0
