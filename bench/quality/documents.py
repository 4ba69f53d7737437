"""The five documents: package, version, and digest of the PDF that the queries were made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Document:
    """One PDF of a Debian package.

    Attributes:
        package: name of the package.
        version: of the package.
        path: of the PDF in the package, where it may be compressed as ``path``.gz.
        sha256: of the uncompressed PDF.
        pages: number of pages.
        licence: 0-based pages of licence texts, which other documents print too, also those used in training.
    """

    package: str
    version: str
    path: str
    sha256: str
    pages: int
    licence: tuple[int, ...]

    @property
    def name(self) -> str:
        """File name of the PDF."""
        return self.path.rpartition("/")[2]


# Debian 12. The models here must not be trained on any of them.
DOCUMENTS = (
    Document(
        "debian-faq",
        "11.1",
        "usr/share/doc/debian/FAQ/debian-faq.en.pdf",
        "ea67ca925863324d97a30b5c926aed95efc687c689aa16788c9bed54525c0b47",
        73,
        (1,),
    ),
    Document(
        "python-reportlab-doc",
        "3.6.12-1+deb12u1",
        "usr/share/doc/python-reportlab-doc/reportlab-userguide.pdf",
        "91ad5429d7b2907b8efefd7b95facfe2fb01ec31b8cefb024e47b0a7ac713420",
        134,
        (),
    ),
    Document(
        "freefem-doc",
        "3.5.8-7",
        "usr/share/doc/freefem-doc/freefem.pdf",
        "9ac5d2e38e36ea00b73d568242a7018f90e4d3e665fcd0fa3e459c2e829aa206",
        50,
        (1, *range(40, 49)),
    ),
    Document(
        "gnuplot-doc",
        "5.4.4+dfsg1-2",
        "usr/share/doc/gnuplot/gnuplot.pdf",
        "df68dd0613f043141512fc4436d17aaf96727d5a758d85233915ac5056a97206",
        311,
        (20,),
    ),
    Document(
        "octave-doc",
        "7.3.0-2",
        "usr/share/doc/octave/octave.pdf",
        "ddd24489f87b46fbf99c15cc34aa865ae66775fb7c21927f7f2d6be9470becb8",
        1158,
        (1, *range(1116, 1127)),
    ),
)


# Debian 12. Choices between models are made on these, so that the five above only judge what was chosen. No model here
# is trained on them: keep it so.
DEVELOPMENT = (
    Document(
        "bash-doc",
        "5.2.15-2",
        "usr/share/doc/bash/bashref.pdf",
        "104971d389c0b9b7a261b0b3070a53b0d8cce6db1ffddefcc8423ddda92acd87",
        196,
        (),
    ),
    Document(
        "gmsh-doc",
        "4.8.4+ds2-3",
        "usr/share/doc/gmsh-doc/gmsh.pdf",
        "2f1b8c6fb50aadaf099b731762f64e3b3fafd039dce92b8d906549b771d90eb8",
        390,
        (),
    ),
    Document(
        "ngspice-doc",
        "39.3+ds-1",
        "usr/share/doc/ngspice-doc/manual.pdf",
        "abfaa04e146be731287dc182de216b22c0b4463dea4266fae92a1e51be955da5",
        715,
        (),
    ),
    Document(
        "ubuntu-packaging-guide-pdf",
        "1.0.4",
        "usr/share/doc/ubuntu-packaging-guide-pdf/ubuntu-packaging-guide.pdf",
        "53406441f5208193a1bd6fe8fcdf0003ca3e1f66e15e105cd36388cf9a59a892",
        51,
        (),
    ),
)


def located(folder: Path, name: str) -> Path:
    """Returns the path of a document.

    Args:
        folder: of the PDFs.
        name: file name; a pinned one must be the exact file that the queries were made from.

    Raises:
        SystemExit: the file is missing or differs.
    """
    file = folder / name
    if not file.is_file():
        raise SystemExit(f"{folder} holds no {name}: run python -m bench.quality.fetch {folder}")
    pinned = next((document for document in (*DOCUMENTS, *DEVELOPMENT) if document.name == name), None)
    if pinned is not None and (digest := sha256(file)) != pinned.sha256:
        raise SystemExit(
            f"{file} has SHA-256 {digest[:16]}..., the queries were made from {pinned.sha256[:16]}... "
            f"({pinned.package} {pinned.version}): remove it and run python -m bench.quality.fetch {folder}"
        )
    return file


def scan_of(folder: Path, name: str) -> Path:
    """Returns the path of a document's scan, which `bench.quality.scans` makes.

    Args:
        folder: of the scans.
        name: file name of the document.

    Raises:
        SystemExit: the file is missing.
    """
    file = folder / name
    if not file.is_file():
        raise SystemExit(f"{folder} holds no scan of {name}: run python -m bench.quality.scans {folder}")
    return file


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    return sha256_of(file.read_bytes())


def sha256_of(data: bytes) -> str:
    """Returns the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
