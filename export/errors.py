"""Errors of the export: each names the value, the limit and the way out."""


class CheckpointError(ValueError):
    """The checkpoint cannot be exported: another architecture, a missing or misshapen tensor, a wrong tokenizer."""


class ExportError(ValueError):
    """The export was asked for something it does not do, or its result failed its own check."""
