"""Gives a command several flags in place of one parameter, which then has all their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_type_hints

Command = TypeVar("Command", bound=Callable[..., None])


def flag(name: str, annotation: Any, default: object) -> inspect.Parameter:
    """Returns a flag with the annotation that Typer reads: ``Annotated[..., typer.Option(...)]``."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def in_place_of(
    parameter: str,
    flags: Sequence[inspect.Parameter | str],
    read: Callable[[dict[str, Any]], object],
    command: Command,
) -> Command:
    """Returns the command with flags in place of a parameter; ``--help`` has them where the parameter stood.

    Args:
        parameter: The parameter's name.
        flags: The flags in their order. A string is the place of a parameter of the command's own, if it has one.
        read: Makes the parameter's value of the values of the flags by their names.
        command: What Typer would call.
    """
    hints = get_type_hints(command, include_extras=True)
    own = {
        name: one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(command).parameters.items()
    }
    shared = [own[one] if isinstance(one, str) else one for one in flags if not isinstance(one, str) or one in own]
    names = [one.name for one in flags if not isinstance(one, str)]
    parameters = []
    for name, one in own.items():
        if name == parameter:
            parameters += shared
        elif one not in shared:
            parameters.append(one)

    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        command(**values, **{parameter: read(given)})

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which Typer reads
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run  # type: ignore[return-value]  # called by Typer alone
