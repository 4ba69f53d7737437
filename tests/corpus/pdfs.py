"""Small PDFs with faults that real files have, each made by code; ``document`` puts objects together."""

from __future__ import annotations

from collections.abc import Mapping

HELVETICA = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
LETTER = "/MediaBox [0 0 612 792]"
WORDS = "BT /F 30 Tf 60 700 Td (Invoice total amount) Tj ET"

_NAMES = {  # simple fonts: the names of four glyphs
    "Cyrillic": ("afii10017", "afii10018", "afii10019", "afii10020"),
    "Greek": ("Alpha", "Beta", "Gamma", "Sigma"),
    "Hebrew": ("afii57664", "afii57665", "afii57666", "afii57667"),
    "Arabic": ("afii57409", "afii57410", "afii57411", "afii57412"),
}
_ORDERINGS = {
    "Chinese, simplified": ("SimSun", "GB1", "UniGB-UCS2-H", "发票总金额"),
    "Chinese, traditional": ("MingLiU", "CNS1", "UniCNS-UCS2-H", "發票總金額"),
    "Japanese": ("MS-Mincho", "Japan1", "UniJIS-UCS2-H", "請求書の合計"),
    "Korean": ("Batang", "Korea1", "UniKS-UCS2-H", "송장총금액"),
}


def document(objects: Mapping[int, str], root: int = 1) -> bytes:
    """Returns a PDF of numbered objects, with a cross-reference table and a trailer."""
    data = b"%PDF-1.7\n"
    places = {}
    for number in sorted(objects):
        places[number] = len(data)
        data += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode()
    table = len(data)
    size = max(objects) + 1
    data += f"xref\n0 {size}\n0000000000 65535 f \n".encode()
    for number in range(1, size):
        data += f"{places.get(number, 0):010d} 00000 {'n' if number in places else 'f'} \n".encode()
    return data + f"trailer << /Size {size} /Root {root} 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()


def one_page(content: str = WORDS, font: str = HELVETICA, *, page: str = LETTER, **more: str) -> bytes:
    """Returns a PDF of one page; ``more`` are further objects, such as ``o7="<< ... >>"``."""
    return document(
        {
            1: "<< /Type /Catalog /Pages 2 0 R >>",
            2: "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: f"<< /Type /Page /Parent 2 0 R {page} /Contents 4 0 R /Resources << /Font << /F 5 0 R /G 9 0 R >> "
            "/Properties << /L 10 0 R >> >> >>",
            4: f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
            5: font,
            9: HELVETICA,
            10: "<< /Type /OCG /Name (layer) >>",
        }
        | {int(name[1:]): text for name, text in more.items()}
    )


def five_pages(third: str = "") -> bytes:
    """Returns a PDF of five pages with words; ``third`` stands for ``LETTER`` on the third, or for all of that page."""
    page = f"<< /Type /Page /Parent 2 0 R {LETTER} /Contents 8 0 R /Resources << /Font << /F 9 0 R >> >> >>"
    pages = dict.fromkeys(range(3, 8), page)
    if third:
        pages[5] = third if third[:1] == "<" or third == "null" else pages[5].replace(LETTER, third)
    return document(
        {
            1: "<< /Type /Catalog /Pages 2 0 R >>",
            2: "<< /Type /Pages /Kids [3 0 R 4 0 R 5 0 R 6 0 R 7 0 R] /Count 5 >>",
            **pages,
            8: f"<< /Length {len(WORDS)} >>\nstream\n{WORDS}\nendstream",
            9: HELVETICA,
        }
    )


def _descriptor(name: str) -> str:
    return (
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 32 /ItalicAngle 0 /Ascent 900 /Descent -200 /CapHeight 700 "
        "/StemV 80 /FontBBox [0 -200 1000 900] >>"
    )


def named(script: str, before: str = "", after: str = "") -> bytes:
    """Returns a page with four letters of a script in a simple font that is named and not embedded."""
    glyphs = " ".join(f"/{name}" for name in _NAMES[script])
    font = (
        "<< /Type /Font /Subtype /TrueType /BaseFont /Arial /FirstChar 65 /LastChar 68 /Widths [700 700 700 700] "
        f"/Encoding << /BaseEncoding /WinAnsiEncoding /Differences [65 {glyphs}] >> /FontDescriptor 6 0 R >>"
    )
    return one_page(f"{before} BT /F 30 Tf 60 600 Td (ABCD) Tj ET {after}", font, o6=_descriptor("Arial"))


def composite(language: str, before: str = "", after: str = "", *, text: str = "", page: str = LETTER) -> bytes:
    """Returns a page with words of a language in a composite font that is named and not embedded."""
    name, ordering, encoding, words = _ORDERINGS[language]
    shown = (text or words).encode("utf-16-be").hex()
    return one_page(
        f"{before} BT /F 30 Tf 60 600 Td <{shown}> Tj ET {after}",
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{encoding} /DescendantFonts [7 0 R] >>",
        page=page,
        o6=_descriptor(name),
        o7=f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} /DW 1000 /FontDescriptor 6 0 R "
        f"/CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >> >>",
    )


LOST = {  # pages whose text, or a part of it, has no font
    **{script: named(script) for script in _NAMES},
    **{language: composite(language) for language in _ORDERINGS},
    "beside Latin words": composite("Japanese", WORDS.replace("/F", "/G")),
    "in one object with Latin letters": composite("Chinese, simplified", text="Invoice 发票总额"),
    "in colour": composite("Korean", "1 0 0 rg"),
    "white on black": composite("Japanese", "0 0 0 rg 0 0 612 792 re f 1 1 1 rg"),
    "underlined": composite("Japanese", "60 597 180 1 re f"),
    "on a turned page": composite("Japanese", page=f"{LETTER} /Rotate 90"),
    "on a cropped page": composite("Japanese", page=f"{LETTER} /CropBox [40 500 400 700]"),
    "clipped to a part that holds it": composite("Japanese", "0 500 612 292 re W n"),
}
NOT_LOST = {  # pages that show all that they mean to show
    "Latin letters": one_page(),
    "no text": one_page("0 0 100 100 re f"),
    "blank": one_page(""),
    "Latin letters in a Chinese font": composite("Chinese, simplified", text="Invoice total"),
    "invisible, as OCR lays it under a scan": composite("Japanese", "3 Tr"),
    "white on white": composite("Japanese", "1 1 1 rg"),
    "clipped away": composite("Japanese", "0 0 20 20 re W n"),
    "outside of the page": composite("Japanese", "1 0 0 1 2000 0 cm"),
    "on a layer": composite("Japanese", "/OC /L BDC", "EMC"),
    "blanks only": composite("Japanese", text="   "),
    "under a picture": composite(
        "Japanese", "", "0.5 g 50 590 300 10 re f 0.2 g 50 600 300 40 re f 0.9 g 50 610 300 8 re f"
    ),
}
_GOOD = five_pages()
_TRAILER, _TABLE = _GOOD.index(b"trailer"), _GOOD.index(b"xref\n0 ")
BROKEN = {  # other readers repair these
    "no header": _GOOD[9:],
    "2 kB before the header": b"x\n" * 1000 + _GOOD,
    "a header of another kind": b"%!PS-Adobe-3.0 PDF-1.4\n" + _GOOD[9:],
    "neither table nor trailer": _GOOD[:_TABLE],
    "no trailer": _GOOD[:_TRAILER],
    "a trailer without a root": _GOOD.replace(b"/Root 1 0 R", b""),
    "a trailer with another name": _GOOD.replace(b"trailer", b"trailr "),
    "a root that is no catalog": _GOOD.replace(b"/Root 1 0 R", b"/Root 3 0 R"),
    "a root that is not there": _GOOD.replace(b"/Root 1 0 R", b"/Root 77 0 R"),
    "a trailer that is cut": _GOOD[:_TRAILER] + b"trailer << /Size 10 /Root 1 0 R",
    "an object that is cut": _GOOD[: _GOOD.index(b"9 0 obj") + 8],
    "a catalog without pages": _GOOD.replace(b"/Pages 2 0 R", b"            "),
    "neither header nor trailer": _GOOD[9:_TABLE],
    "a wrong startxref": _GOOD.replace(str(_TABLE).encode(), b"7"),
}
ODD_BOXES = {  # third pages that are shown, with the size (height, width) in points
    "/MediaBox [0 0 612 792] /CropBox [700 800 1000 1000]": (792, 612),
    "/MediaBox [0 0 612 792] /CropBox [700 800 1000 1000] /Rotate 90": (612, 792),
    "/MediaBox [0 0 612 792] /CropBox [0 0 0 0]": (792, 612),
    "/MediaBox [0 0 0 0]": (792, 612),
    "/MediaBox [612 792 0 0]": (792, 612),
    "/Rotate 0": (792, 612),
    "/MediaBox [0 0 100 200] /UserUnit 2.5": (500, 250),
    "/MediaBox [0 0 100 200] /UserUnit 1.0": (200, 100),
}
BAD_THIRD_PAGES = {  # with a part of the reason
    "/MediaBox [0 0 10 3000]": "aspect ratio of 300.0",
    "null": "",
    "<< /Type /Pages /Kids [5 0 R] /Count 1 /Parent 2 0 R >>": "",
}
XFA = document(
    {
        1: "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [] /XFA 6 0 R >> >>",
        2: "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: f"<< /Type /Page /Parent 2 0 R {LETTER} /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        4: f"<< /Length {len(WORDS)} >>\nstream\n{WORDS}\nendstream",
        5: HELVETICA,
        6: "<< /Length 11 >>\nstream\n<xdp:xdp />\nendstream",
    }
)
