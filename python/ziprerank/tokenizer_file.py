"""Reads ``tokenizer.json``, in the format of Hugging Face's tokenizers, from bytes that came from outside."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from ziprerank.errors import ZipRerankError, shortened
from ziprerank.strict_json import parse_object, read_file

_MOST_BYTES = 128 << 20  # eleven times Qwen3's
_MOST_VALUES = 8_000_000


def read_tokenizer(path: Path, error: type[ZipRerankError]) -> Tokenizer:
    """Reads a tokenizer's file. Raises ``error`` as ``parse_tokenizer``, and where the file cannot be read."""
    try:
        return parse_tokenizer(read_file(path, error, _MOST_BYTES), path, error)
    except FileNotFoundError:
        raise error(f"{path} is missing") from None


def parse_tokenizer(content: bytes, path: Path, error: type[ZipRerankError]) -> Tokenizer:
    """Returns the tokenizer that a file describes.

    Args:
        content: The file's bytes.
        path: What errors call the file.
        error: What is raised when it is no tokenizer.
    """
    parse_object(content, str(path), error, most_values=_MOST_VALUES)
    try:
        return Tokenizer.from_buffer(content)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as reason:  # tokenizers raises plain Exception, and PanicException, which is none
        raise error(f"{path} cannot be read: {shortened(str(reason))}") from reason
