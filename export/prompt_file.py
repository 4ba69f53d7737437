"""Which prompt a bundle gets: one that was asked for, the checkpoint's own, or one that ziprerank knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ziprerank.strict_json import MOST_BYTES, Fields, parse_object, read_fields, read_file

from .checkpoint import Checkpoint
from .errors import CheckpointError, ExportError

PROMPTS = {"ziprerank": "prompt.json", "qwen3-vl-reranker": "qwen3-vl-reranker.json"}
"""The prompts that ziprerank knows, and the files in this package that hold them."""
_OWN = "prompt.json"
_MODULES = "modules.json"  # of sentence-transformers
_HEAD = "LogitScore"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The content of a prompt's file, and why it is the bundle's.

    Attributes:
        fields: The content.
        name: What the bundle calls the prompt.
        reason: Why it was chosen; follows the name.
    """

    fields: Fields
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}, {self.reason}"


def find_prompt(checkpoint: Checkpoint, asked: str | None = None) -> PromptFile:
    """Finds the prompt of a checkpoint's bundle.

    Args:
        checkpoint: Its own ``prompt.json`` comes first; then a ``modules.json`` of sentence-transformers that ends in
            a LogitScore head, which is how Qwen3-VL-Reranker checkpoints are marked; otherwise it is ZipRerank's.
        asked: ``ziprerank``, ``qwen3-vl-reranker`` or the path of a file like ``prompt.json``; comes before all that.

    Raises:
        CheckpointError: A file of the checkpoint is not what it must be.
        ExportError: ``asked`` is neither a known prompt nor a file that can be read.
    """
    if asked is not None:
        return _asked(asked)
    own = checkpoint.optional_json(_OWN)
    if own is not None:
        return PromptFile(Fields(own, _OWN, CheckpointError), "the checkpoint's own", f"in its {_OWN}")
    if _ends_in_logit_score(checkpoint.path / _MODULES):
        return _known("qwen3-vl-reranker", f"as the {_HEAD} head in the checkpoint's {_MODULES} says")
    return _known("ziprerank", f"since the checkpoint has neither a {_OWN} nor a {_HEAD} head in {_MODULES}")


def _asked(asked: str) -> PromptFile:
    if asked in PROMPTS:
        return _known(asked, "as asked for")
    path = Path(asked)
    try:
        return PromptFile(read_fields(path, ExportError), path.name, "as asked for")
    except FileNotFoundError:
        known = ", ".join(PROMPTS)
        raise ExportError(f"prompt {asked!r} is neither one of {known} nor a file: give one of these") from None


def _known(name: str, reason: str) -> PromptFile:
    file = PROMPTS[name]
    content = json.loads(resources.files(__package__).joinpath(file).read_text(encoding="utf-8"))
    return PromptFile(Fields(content, file, CheckpointError), name, reason)


def _ends_in_logit_score(path: Path) -> bool:
    try:
        content = read_file(path, CheckpointError, MOST_BYTES)
    except FileNotFoundError:
        return False
    # the file holds a list, and the rules for files from outside are for objects
    modules = Fields(parse_object(b'{"modules": %b}' % content, str(path), CheckpointError), str(path), CheckpointError)
    kinds = [module.text("type", "", most=1024) for module in modules.objects("modules")]
    return bool(kinds) and kinds[-1].rpartition(".")[2] == _HEAD
