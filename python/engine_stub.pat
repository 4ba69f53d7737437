# What nanobind's stub generator puts at the top of python/ziprerank/_engine.pyi.
^ziprerank\._engine\.__prefix__$:
    \from typing import TypedDict
    class EngineProfile(TypedDict):
        """What an engine recorded; times are nanoseconds since the epoch."""

        stages: list[tuple[str, int, int, int]]
        """Stages in the order in which they ended: name, start, end, thread id."""
        graphs: list[tuple[str, str, int]]
        """ONNX Runtime's profiles: graph, file, start; events in the file count microseconds since the start."""
