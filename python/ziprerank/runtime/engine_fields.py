"""``EngineOptions`` as the fields of a pydantic model, for Ray Serve and the adapters that are pydantic models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, Field, create_model

from ziprerank.runtime.engine import EngineOptions, parse_size

_TYPES: dict[str, Any] = get_type_hints(EngineOptions, localns={"Path": Path}) | {
    "threads": Annotated[int, Field(ge=0)],
    "pool_bytes": Annotated[int, BeforeValidator(parse_size), Field(ge=1)],
    "page_cache_bytes": Annotated[int, BeforeValidator(parse_size), Field(ge=1)],
    "page_memory_bytes": Annotated[int, BeforeValidator(parse_size), Field(ge=1)],
}

_DEFINITIONS: dict[str, Any] = {
    one.name: (_TYPES[one.name], Field(default=one.default, description=one.metadata["help"]))
    for one in dataclasses.fields(EngineOptions)
}
_Fields: Any = create_model("_Fields", **_DEFINITIONS)


class EngineFields(_Fields):  # type: ignore[misc]  # its fields are those of EngineOptions
    """A model that has every engine option as a field."""

    def engine_options(self) -> EngineOptions:
        """The options that the fields hold. Raises InvalidInput."""
        return EngineOptions(**{one.name: getattr(self, one.name) for one in dataclasses.fields(EngineOptions)})
