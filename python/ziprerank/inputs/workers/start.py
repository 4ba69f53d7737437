"""The program of a page worker: ``python -S start.py``, with the connection to its parent as standard input.

It is run as a script, since ``-m`` would import from the folder that the user is in. The parent names the folders to
import from, and the package is entered without its ``__init__``, which looks for ONNX Runtime.
"""

import json
import socket
import sys
import types


def main() -> None:
    """Reads where to import from and which pipe ends with the parent, then serves until the connection ends."""
    link = socket.socket(fileno=0)
    line = b""
    while not line.endswith(b"\n"):
        part = link.recv(1)
        if not part:
            return
        line += part
    start = json.loads(line)
    sys.path[:] = start["path"]
    package = types.ModuleType("ziprerank")
    package.__path__ = start["package"]
    sys.modules["ziprerank"] = package
    from ziprerank.inputs.workers.child import serve

    serve(link, start["life"])


if __name__ == "__main__":
    main()
