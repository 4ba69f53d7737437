"""Checkpoint to bundle: the offline half of ziprerank. Needs the extra ``export``; no PyTorch.

`export_checkpoint` writes a bundle. `ziprerank.export.verify` (extra ``verify``) checks one against transformers.
"""

from .bundle import Defaults, export_checkpoint
from .errors import CheckpointError, ExportError

__all__ = ["CheckpointError", "Defaults", "ExportError", "export_checkpoint"]
