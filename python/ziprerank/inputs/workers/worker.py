"""One page worker, as its parent sees it: a process, a connection, and memory for pixels that both map."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ziprerank.errors import WorkerError
from ziprerank.inputs.workers.channel import Ended, Message, receive, send

START_SECONDS = 60.0
_PROGRAM = Path(__file__).with_name("start.py")
_PACKAGE = Path(__file__).parents[2]
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # NumPy would start one for each CPU
_LOOK_SECONDS = 0.05  # between two looks at a worker's memory; 100 MB can be filled meanwhile
_WAY_OUT = "page_workers='off' prepares pages in this process"


class PageWorker:
    """Answers one request at a time. The caller sees to that, and kills a worker whose reply it does not await.

    Attributes:
        opened: Keys of the files that the worker has open, the oldest first.
        forgotten: Keys of files that the worker is to close at its next request.
        since: When its request began, by ``time.monotonic``; None while it has none.
    """

    def __init__(self) -> None:
        """Starts the process and does not wait until it is ready. Raises WorkerError."""
        self.opened: OrderedDict[int, None] = OrderedDict()
        self.forgotten: list[int] = []
        self.since: float | None = None
        self._ready = False
        self._own = 0
        self._canvas: mmap.mmap | None = None
        self._canvas_file = -1
        program = python_program()
        self._said = anonymous_file("ziprerank-start")
        self._link, theirs = socket.socketpair()
        its_life, self._life = os.pipe()  # nothing is written: it ends with this process
        self._process: subprocess.Popen[bytes]
        try:
            self._process = subprocess.Popen(
                [program, "-S", str(_PROGRAM)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=os.environ | _ONE_THREAD,
                pass_fds=(its_life,),
                start_new_session=True,  # a terminal's Ctrl-C and Ctrl-Z are the parent's alone
            )
            start = {"path": [entry for entry in sys.path if entry], "package": [str(_PACKAGE)], "life": its_life}
            self._link.sendall(json.dumps(start).encode() + b"\n")
        except (OSError, ValueError) as error:
            self._close_descriptors()
            raise WorkerError(f"{program} cannot be started to prepare pages ({error}): {_WAY_OUT}") from error
        finally:
            theirs.close()
            os.close(its_life)
        self.started = time.monotonic()

    def wait_until_ready(self) -> None:
        """Returns when the process takes requests. Raises WorkerError if it ends before, or takes a minute."""
        if self._ready:
            return
        try:
            receive(self._link, self.started + START_SECONDS)
        except (Ended, TimeoutError) as error:
            self.kill()
            why = self._last_words() or self.ending()
            raise WorkerError(f"a process that prepares pages did not start ({why}): {_WAY_OUT}") from error
        os.close(self._said)
        self._said = -1
        self._own = allocated(self.pid)
        self._ready = True

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        pid: int = self._process.pid
        return pid

    def ask(
        self, request: Message, descriptors: Sequence[int], canvas: int, seconds: float, memory: int = sys.maxsize
    ) -> Message:
        """Sends a request and returns the reply. After an error the caller kills the worker.

        Args:
            request: What ``child.Desk`` answers.
            descriptors: Sent with it.
            canvas: Bytes of pixels that the reply may have.
            seconds: Most seconds to wait.
            memory: Most bytes that the process may allocate meanwhile, over what it had at its start.

        Raises:
            Ended: The process died, or was killed.
            TimeoutError: The time is over.
            MemoryError: The process has allocated more.
        """
        request = {**request, "seconds": seconds, "memory": memory, "close": self.forgotten}
        self.forgotten = []
        if canvas > (0 if self._canvas is None else len(self._canvas)):
            self._grow(canvas)
            request["canvas"] = canvas
            descriptors = [self._canvas_file, *descriptors]
        deadline = time.monotonic() + seconds
        self._link.settimeout(seconds)
        send(self._link, request, descriptors)
        reply = select.poll()
        reply.register(self._link, select.POLLIN)
        while not reply.poll(1e3 * min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
            # allocations that failed would do too, but PDFium leaves out a picture for which there is no memory
            if allocated(self.pid) > self._own + memory:
                raise MemoryError
            if time.monotonic() >= deadline:
                raise TimeoutError
        return receive(self._link, deadline)

    def pixels(self, count: int) -> memoryview:
        """The first bytes of the shared memory; they stay until the next request."""
        assert self._canvas is not None
        return memoryview(self._canvas)[:count]

    def kill(self) -> None:
        """Ends the process at once, from any thread; whoever waits for its reply gets ``Ended``."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends the process and closes what this side holds; nobody may use the worker any more."""
        self.kill()
        self._close_descriptors()

    def abandon(self) -> None:
        """Closes what a forked process inherited, and leaves the worker to the parent."""
        self._process.returncode = 0  # it is no child of this process
        self._close_descriptors()

    def ending(self) -> str:
        """Says how the process ended."""
        code = self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                return signal.Signals(-code).name
        return f"status {code}"

    def _grow(self, canvas: int) -> None:
        if self._canvas_file < 0:
            self._canvas_file = anonymous_file("ziprerank-pixels")
        os.ftruncate(self._canvas_file, canvas)
        _keep_size(self._canvas_file)
        self._canvas = mmap.mmap(self._canvas_file, canvas)

    def _last_words(self) -> str:
        size = os.fstat(self._said).st_size
        text = os.pread(self._said, 4096, max(0, size - 4096)).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""

    def _close_descriptors(self) -> None:
        self._link.close()
        for name in ("_said", "_canvas_file", "_life"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)


def python_program() -> str:
    """Returns the Python that page workers run: ``sys.executable``, or what ``multiprocessing`` was told to start.

    Raises:
        WorkerError: The program of this process is no Python interpreter.
    """
    spawn = sys.modules.get("multiprocessing.spawn")
    program = (spawn.get_executable() if spawn is not None else None) or sys.executable
    program = os.fsdecode(program) if program else ""
    if not program or getattr(sys, "frozen", False):
        raise WorkerError(
            "pages cannot be prepared in child processes, since this program is no Python interpreter "
            f"(sys.executable is {sys.executable!r}): name one with multiprocessing.set_executable, or {_WAY_OUT}"
        )
    return program


def allocated(pid: int) -> int:
    """Bytes of a process that are its own and writable, touched or not; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[5]
    except (OSError, IndexError):
        return 0
    return int(pages) * mmap.PAGESIZE


def anonymous_file(name: str) -> int:
    """Returns the descriptor of a file in memory, or where the system has none, of a temporary file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _keep_size(descriptor: int) -> None:
    """Forbids everybody to make the file shorter, which would end a process that has it mapped."""
    import fcntl

    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
