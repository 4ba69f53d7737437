"""Errors of the training code, each naming the value at fault, the limit and the way out."""


class TrainError(ValueError):
    """A configuration, a data file or a teacher's answer that training cannot use."""
