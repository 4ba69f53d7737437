"""Errors of the training code. Each message names the value, the limit and the way out."""

from ziprerank.errors import ZipRerankError


class TrainError(ZipRerankError, ValueError):
    """Training cannot use a configuration, a data file or a teacher's answer."""
