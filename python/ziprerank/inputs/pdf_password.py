"""The bytes that a password may stand for: PDF 2.0 wants SASLprep and UTF-8, older files PDFDocEncoding."""

from __future__ import annotations

import stringprep
import unicodedata

_DOC_ENCODING = dict(zip(range(0x18, 0x20), "˘ˇˆ˙˝˛˚˜", strict=True)) | dict(
    zip(range(0x80, 0x9F), "•†‡…—–ƒ⁄‹›−‰„“”‘’‚™ﬁﬂŁŒŠŸŽıłœšž", strict=True)
)
_DOC_ENCODING[0xA0] = "€"
_BYTES = {chr(byte): byte for byte in range(0x100) if byte not in _DOC_ENCODING}
_BYTES |= {sign: byte for byte, sign in _DOC_ENCODING.items()}


def password_bytes(password: str) -> list[bytes]:
    """Returns every reading of a password as PDFium takes it, the likeliest first, without repetitions."""
    readings = [password.encode("utf-8", "surrogatepass")]
    prepared = saslprep(password)
    if prepared is not None:
        readings.append(prepared.encode())
    if all(sign in _BYTES for sign in password):
        readings.append(bytes(_BYTES[sign] for sign in password))
    return list(dict.fromkeys(reading for reading in readings if b"\0" not in reading))


def saslprep(text: str) -> str | None:
    """Returns the text as RFC 4013 prepares it, or None if it holds characters that are prohibited there."""
    mapped = "".join(
        " " if stringprep.in_table_c12(sign) else sign for sign in text if not stringprep.in_table_b1(sign)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    prohibited = (
        *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
        *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8),
        stringprep.in_table_c9,
    )
    if any(table(sign) for sign in prepared for table in prohibited):
        return None
    return prepared
