"""Errors of the export. Each message names the value, the limit and the way out."""

from ziprerank.errors import ZipRerankError


class CheckpointError(ZipRerankError, ValueError):
    """The checkpoint cannot be exported: another architecture, a missing or misshapen tensor, a wrong tokenizer."""


class ExportError(ZipRerankError, ValueError):
    """An option is out of range, options contradict each other, or the result failed its own check."""
