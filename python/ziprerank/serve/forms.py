"""Forms: nothing in one is dropped, so what the path does not read is refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi.params import Form
from starlette.datastructures import FormData

from ziprerank.serve.failures import Refused


def check_form(form: FormData, fields: Mapping[str, bool]) -> None:
    """Refuses a field that the path does not have, and one given more than once that is no list.

    Args:
        form: What was sent.
        fields: As `form_fields` has them.

    Raises:
        Refused: 422.
    """
    for name in form:
        if name not in fields:
            raise Refused(422, f"{name}: the form has no such field; it has {', '.join(fields)}", param=name[:200])
        if not fields[name] and len(form.getlist(name)) > 1:
            raise Refused(422, f"{name}: given more than once, but it has one value", param=name)


@cache
def form_fields(endpoint: Callable[..., Any]) -> Mapping[str, bool]:
    """Returns the names of the form's fields that a path's function reads, and whether each is a list."""
    hints = get_type_hints(endpoint, include_extras=True)
    annotated = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Annotated}
    return {
        name: get_origin(kind) is list
        for name, (kind, *notes) in annotated.items()
        if any(isinstance(note, Form) for note in notes)  # a file is one too
    }
