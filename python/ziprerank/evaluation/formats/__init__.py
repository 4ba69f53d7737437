"""The forms of data that ``ziprerank eval`` reads, a module each, and how they are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from ziprerank.errors import InvalidInput
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.formats import mmdocir, pdf, trec, vidore

Format = Literal["mmdocir", "vidore", "trec", "pdf"]

_MODULES = {"mmdocir": mmdocir, "vidore": vidore, "trec": trec, "pdf": pdf}


def read_data(path: Path, form: Format | None = None) -> Data:
    """Reads a data set; pictures stay on disk until they are ranked.

    Args:
        path: Its folder.
        form: Its form; None tells it by the files in the folder.

    Raises:
        InvalidInput: The folder has none of the forms or several, or the data is damaged.
    """
    if not path.is_dir():
        raise InvalidInput(f"{path}: no such folder of data")
    if form is not None and form not in _MODULES:
        raise InvalidInput(f"format {form!r}: must be one of {', '.join(get_args(Format))}")
    if form is None:
        found = [name for name, module in _MODULES.items() if module.is_here(path)]
        if len(found) != 1:
            shapes = "; ".join(f"{name}: {module.FILES}" for name, module in _MODULES.items())
            said = f"it could be {' or '.join(found)}" if found else "it has the files of no form"
            raise InvalidInput(f"{path}: {said}, so name it with --format, and check its files ({shapes})")
    else:
        found = [form]
    data: Data = _MODULES[found[0]].read(path)
    return data
