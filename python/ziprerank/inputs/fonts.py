"""Fonts for text whose fonts are not in the PDF: where PDFium looks for them, and for which scripts it finds some."""

from __future__ import annotations

import ctypes
import gc
import os
import warnings

import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput

VARIABLE = "ZIPRERANK_FONTS"
"""environment variable: more folders of fonts, separated as in PATH"""

_USUAL = ("/usr/share/fonts", "/usr/share/X11/fonts/Type1", "/usr/share/X11/fonts/TTF", "/usr/local/share/fonts")

# how programs name fonts that they do not embed, with the characters that a probe draws
_BY_CODE = {  # composite fonts: name, ordering, encoding
    "Chinese, simplified": ("SimSun", "GB1", "UniGB-UCS2-H", "发票总额"),
    "Chinese, traditional": ("MingLiU", "CNS1", "UniCNS-UCS2-H", "發票總額"),
    "Japanese": ("MS-Mincho", "Japan1", "UniJIS-UCS2-H", "請求書の"),
    "Korean": ("Batang", "Korea1", "UniKS-UCS2-H", "송장총금"),
}
_BY_NAME = {  # simple fonts: the names of four glyphs
    "Latin": ("A", "B", "C", "D"),
    "Cyrillic": ("afii10017", "afii10018", "afii10019", "afii10020"),
    "Greek": ("Alpha", "Beta", "Gamma", "Sigma"),
    "Hebrew": ("afii57664", "afii57665", "afii57666", "afii57667"),
    "Arabic": ("afii57409", "afii57410", "afii57411", "afii57412"),
}
SCRIPTS = (*_BY_NAME, *_BY_CODE)

_configured = False
_paths: ctypes.Array[ctypes.c_char_p] | None = None  # PDFium reads them as long as it runs


def font_folders() -> list[str]:
    """Returns the folders of ``ZIPRERANK_FONTS``, then the usual ones, whether or not these exist.

    Raises:
        InvalidInput: A folder of the variable does not exist.
    """
    return [*_own_folders(), *_USUAL]


def _own_folders() -> list[str]:
    folders = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    for folder in folders:
        if not os.path.isdir(folder):  # noqa: PTH112
            raise InvalidInput(f"{VARIABLE}: {folder!r} is no folder: correct or unset the variable")
    return folders


def use_font_folders() -> None:
    """Has PDFium look into the folders of ``ZIPRERANK_FONTS`` too; once, before the first document is opened.

    PDFium takes folders only when it starts, so it starts again, unless the application has documents open in it.

    Raises:
        InvalidInput: A folder does not exist.
    """
    global _configured, _paths  # noqa: PLW0603  # PDFium has one state for the whole process
    if _configured:
        return
    folders = _own_folders()
    _configured = True
    if not folders:
        return
    if any(issubclass(type(one), pdfium.PdfDocument) for one in gc.get_objects()):  # isinstance runs others' code
        told = f"{VARIABLE} has no effect, because PDFs are open in pypdfium2: rank a first PDF before you open any"
        warnings.warn(told, RuntimeWarning, stacklevel=2)
        return
    names = [os.fsencode(folder) for folder in (*folders, *_USUAL)]
    _paths = (ctypes.c_char_p * (len(names) + 1))(*names, None)
    config = pdfium_c.FPDF_LIBRARY_CONFIG(version=2)
    config.m_pUserFontPaths = ctypes.cast(_paths, type(config.m_pUserFontPaths))
    pdfium_c.FPDF_DestroyLibrary()
    pdfium_c.FPDF_InitLibraryWithConfig(config)


def probe_page(script: str) -> bytes:
    """Returns a PDF of one page with four characters of a script, in a font that is named and not embedded."""
    if script in _BY_NAME:
        glyphs = "".join(f"/{name}" for name in _BY_NAME[script])
        font = (
            "/Type/Font/Subtype/TrueType/BaseFont/Arial/FirstChar 65/LastChar 68/Widths[700 700 700 700]"
            f"/Encoding<</BaseEncoding/WinAnsiEncoding/Differences[65{glyphs}]>>/FontDescriptor 6 0 R"
        )
        return _page(font, "", "Arial", "(ABCD)")
    name, ordering, encoding, text = _BY_CODE[script]
    font = f"/Type/Font/Subtype/Type0/BaseFont/{name}/Encoding/{encoding}/DescendantFonts[7 0 R]"
    inner = (
        f"<</Type/Font/Subtype/CIDFontType2/BaseFont/{name}/DW 1000/FontDescriptor 6 0 R"
        f"/CIDSystemInfo<</Registry(Adobe)/Ordering({ordering})/Supplement 2>>>>"
    )
    return _page(font, inner, name, f"<{text.encode('utf-16-be').hex()}>")


def _page(font: str, inner: str, name: str, text: str) -> bytes:
    content = f"BT/F 40 Tf 20 30 Td {text} Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 220 90]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        f"<<{font}>>",
        f"<</Type/FontDescriptor/FontName/{name}/Flags 32/ItalicAngle 0/Ascent 900/Descent -200/CapHeight 700/StemV 80"
        "/FontBBox[0 -200 1000 900]>>",
        inner or "null",
    ]
    body = "%PDF-1.7\n" + "".join(f"{number} 0 obj\n{one}\nendobj\n" for number, one in enumerate(objects, start=1))
    return (body + "trailer<</Root 1 0 R/Size 8>>\n%%EOF\n").encode()
