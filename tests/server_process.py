"""``ziprerank serve`` as a process: started on a free port, its log read, stopped by a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from ziprerank.runtime.memory import peak_bytes

COMMAND = [sys.executable, "-c", "from ziprerank.cli.app import app; app()", "serve", "--port", "0"]


class Server:
    """Running from ``with`` on. ``log`` grows while it runs; ``url`` is where it listens.

    ``before`` is a program that the process runs before it serves.
    """

    def __init__(self, *options: object, variables: Mapping[str, str] | None = None, before: str = "") -> None:
        self.log: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [*COMMAND[:2], f"{before}\n{COMMAND[2]}", *COMMAND[3:], *map(str, options)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Server:
        self._ready.wait(60)
        if not any(line["message"] == "ready" for line in self.log):
            self.__exit__()
            raise RuntimeError(f"the server did not start: {self.log}")
        self.url = next(line["url"] for line in self.log if line["message"] == "listening")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """The exit status."""
        status = self._process.wait(seconds)
        self._reader.join()
        return status

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def metric(self, name: str, **labels: str) -> float:
        """A sample of ``/metrics``; 0 before it was first counted."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics", timeout=30).text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return next((sample.value for sample in samples if sample.labels == labels), 0.0)

    def memory(self) -> int:
        """Resident bytes now."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def most_memory(self) -> int:
        """The most resident bytes so far."""
        return peak_bytes(self._process.pid)

    def files(self) -> int:
        """Open files now."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"message": line.rstrip()})
            if self.log[-1]["message"] == "ready" or self.log[-1].get("level") == "error":
                self._ready.set()
        self._ready.set()
