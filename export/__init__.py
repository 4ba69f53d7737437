"""Checkpoint to bundle: the offline half of ziprerank (extra ``export``; no PyTorch).

`export_checkpoint` writes a bundle. `ziprerank.export.verify` (extra ``verify``) compares one with transformers.
"""

from .bundle import export_checkpoint
from .errors import CheckpointError, ExportError
from .options import Calibration, Defaults, ExportOptions

__all__ = ["Calibration", "CheckpointError", "Defaults", "ExportError", "ExportOptions", "export_checkpoint"]
