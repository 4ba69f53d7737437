"""A hollow GPU: ONNX Runtime's own CUDA provider on stub CUDA libraries, where nothing is computed.

Every call of the CUDA runtime, cuBLAS, cuBLASLt, cuDNN and the driver succeeds, and is logged.
So which provider runs a node, which kernels are launched, GEMM shapes, copies, synchronisations and bytes of device
memory are ONNX Runtime's and the engine's own; scores are zeros, the tokens that a query keeps are the first ones of
each page, and times mean nothing.

    gpu = prepare(folder)                                   # fetches the wheel once, compiles the stubs into `folder`
    done = gpu.run([sys.executable, "program.py"], log)     # a process on it, as long as you like
    record = done.record                                    # what it asked of the GPU, part by part

``prepare`` and the reader of logs need nothing of pytest; tests take the fixture ``hollow_gpu`` (tests/conftest.py),
which all processes of a run share, and which skips where there is no wheel or no C compiler.

`prepare(folder, version=TESTED)` -> `HollowGpu`
    Raises `Unavailable` with the reason. ONNX Runtime is unpacked into the user's cache folder; the variable
    ZIPRERANK_HOLLOW_CACHE moves it.
`HollowGpu.run(command, log, memory=, fail=, skip=, capability=, devices=, environment=)` -> `Run`
    A child process with LD_LIBRARY_PATH and PYTHONPATH set, so that `onnxruntime` is the wheel's and `hollow` can be
    imported. ``memory``: bytes of the device. ``skip``: copies of more bytes do nothing, for weights of gigabytes.
    ``fail``: ``"launch:120:719"`` lets the 120th launch fail with CUDA's status 719, ``"alloc:3:2"`` the third
    allocation with out of memory; kinds are alloc, copy, gemm, launch, sync and other, and ``:lost`` at the end lets
    every call after it fail too, as after a lost device.
`HollowGpu.rank(bundle, log, steps, ...)` -> `Run`
    Ranks random pages through `Reranker` (session.py): a list of `Step`, each with page sizes and a keep ratio; part
    ``load`` of the record, and one part for each step, ``step 0`` and so on. ``Run.output`` is what it printed.
`hollow.control` (in the child): `mark(name)` begins a part of the record; `fail(plan)`, `limit(bytes)` as above, at any
    time; `live()`, `peak()`: bytes on the device now and at most, and with ``host=True`` of pinned memory.
`hollow.record`: `Record.parts` by name -> `Part` with `launches`, `gemms`, `copies`, `syncs`, `allocations`.
`hollow.nodes`: which provider ran each node of a graph, where ``rank`` was given the prefix of a ``profile``.
"""

from .record import Record, read_record
from .rig import HollowGpu, Run, Step, prepare
from .wheel import TESTED, Unavailable

__all__ = ["TESTED", "HollowGpu", "Record", "Run", "Step", "Unavailable", "prepare", "read_record"]
