"""Clients that do not behave, beside those of ``python -m bench.serve``: rows 1 and 5 of the service's attacks.

They come from addresses of their own (127.0.0.2 and up), which exist on Linux without any setting.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

SILENT = 1_000  # connections that send nothing, or a header that does not end
ANNOUNCED = 64  # requests that announce the largest body and send one byte
_HEAD = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def attack(url: str, stopping: asyncio.Event) -> int:
    """Keeps these connections open, and opens each again when the server has closed it.

    Args:
        url: The service's.
        stopping: Ends the attack.

    Returns:
        How often a connection was opened.
    """
    where = urlsplit(url)
    opened = 0

    async def keep(number: int, start: bytes) -> None:
        nonlocal opened
        source = (f"127.0.0.{2 + number % 4}", 0)
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(where.hostname, where.port, local_addr=source)
                opened += 1
                writer.write(start)
                await reader.read(1)  # until the server says something, or closes
                writer.close()
            await asyncio.sleep(0.5)

    announced = _HEAD + b"Content-Length: 67108864\r\n\r\n{"
    starts = [b"" if number % 2 else _HEAD + b"X: " for number in range(SILENT)] + [announced] * ANNOUNCED
    tasks = [asyncio.create_task(keep(number, start)) for number, start in enumerate(starts)]
    await stopping.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return opened
