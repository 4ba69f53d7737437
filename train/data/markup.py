"""Paragraphs of plain text out of HTML, manual pages, POD and text files. Only the standard library.

Markup is stripped by simple rules: what a browser or ``man`` would show in running text is kept, layout is not. A table
of HTML gives one paragraph a row; of a macro that is not known the arguments stay.
"""

from __future__ import annotations

import gzip
import html
import re
from html.parser import HTMLParser
from pathlib import Path


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TEXT_NAMES = re.compile(r"(\.(txt|html?|pod|[1-8][a-z]*)(\.gz)?|(^|/)[a-z_-]+)$")
BREAKING = _names(
    "address article aside blockquote body br caption dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 "
    "h5 h6 header hr li main nav ol p pre section table tr ul"
)
SILENT = _names("head nav script style template title footer")
SILENT_CLASSES = _names("related sphinxsidebar headerlink navheader navfooter toc")  # navigation, in Sphinx and DocBook
VOID = _names("area base br col embed hr img input link meta source track wbr")  # elements without an end
SPACED = frozenset(("td", "th"))


class _Html(HTMLParser):
    """Collects running text; a new paragraph at every element that breaks the line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._parts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if self._silent or tag in SILENT or not SILENT_CLASSES.isdisjoint(classes):
            if tag not in VOID:
                self._silent.append(tag)
        elif tag in BREAKING:
            self.end()
        elif tag in SPACED:
            self._parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            # the last one open, and with it whatever was left open inside
            del self._silent[len(self._silent) - 1 - self._silent[::-1].index(tag) :]
        elif tag in BREAKING:
            self.end()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._parts.append(data)

    def end(self) -> None:
        self.found.append("".join(self._parts))
        self._parts.clear()


def html_paragraphs(text: str) -> list[str]:
    """Paragraphs of an HTML page's body: no scripts, styles, navigation or title."""
    parser = _Html()
    parser.feed(text)
    parser.close()
    parser.end()
    return _tidy(parser.found)


ROFF_CHARACTERS = {
    "-": "-", "&": "", "e": "\\", "|": "", "^": "", " ": " ", "~": " ", "0": " ", "/": "", ",": "", ")": "", ":": "",
    "%": "", "c": "", "'": "'", "`": "`", ".": ".", "\\": "\\", "t": " ", "d": "", "u": "", "p": "",
}  # fmt: skip
ROFF_NAMES = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "em": "—", "en": "–", "hy": "-", "mi": "−",
    "bu": "•", "co": "©", "rg": "®", "ti": "~", "ha": "^", "ga": "`", "rs": "\\", "<=": "≤", ">=": "≥", "!=": "≠",
    "mu": "×", "+-": "±", "->": "→", "<-": "←", "sq": "□", "at": "@", "sh": "#", "Do": "$", "ss": "ß", ":a": "ä",
    ":o": "ö", ":u": "ü", "'e": "é", "`e": "è", "de": "°", "12": "½", "14": "¼", "34": "¾", "if": "∞", "*m": "μ",
    "*p": "π", "tm": "™", "sc": "§", "ps": "¶", "lB": "[", "rB": "]", "bv": "|", "ba": "|", "fi": "fi", "fl": "fl",
}  # fmt: skip
ROFF_ESCAPE = re.compile(
    r"\\(?:f(?:\[[^\]]*\]|\(..|.)|s[-+]?(?:\d+|\[[^\]]*\]|\('?\d\d)|\*(?:\[[^\]]*\]|\((?P<string>..)|.)"
    r"|[hvwD]'[^']*'|\((?P<two>..)|\[(?P<long>[^\]]*)\]|[nmMF](?:\[[^\]]*\]|\(..|.)|\"(?P<comment>.*)|(?P<one>.))"
)
ROFF_SILENT = _names(
    "TH Dd Dt Os so de am ds nr if ie el rm ft ta ad na nh hy ll in ti fi nf ne EX EE UE ME TS TE PD RS RE sp br rr tr "
    "Vb Ve IX Id hw als ig cs mso ss lg fp do hc hla evc ev bp cp nop tm ab ec eo nx"
)
ROFF_BREAKS = _names("SH SS PP P LP TP IP HP sp Sh Ss Pp It Bl El RS RE TQ UR MT Bd Ed EX EE nf fi br TE TS in Vb Ve")
ROFF_JOINED = _names("BI BR IB IR RB RI SB")  # arguments in turn in two faces, without spaces


def _roff_escape(match: re.Match[str]) -> str:
    if match["two"] is not None:
        return ROFF_NAMES.get(match["two"], "")
    if match["long"] is not None:
        name = match["long"]
        if re.fullmatch(r"u[0-9A-F]{4,6}", name):
            return chr(int(name[1:], 16))
        return ROFF_NAMES.get(name, "")
    if match["string"] is not None:
        return {"lq": "“", "rq": "”", "C+": "C++", "--": "–", 'L"': '"', 'R"': '"'}.get(match["string"], "")
    return ROFF_CHARACTERS.get(match["one"] or "", "")


def _roff_arguments(text: str) -> list[str]:
    return [quoted.replace('""', '"') or bare for quoted, bare in re.findall(r'"((?:[^"]|"")*)"?|(\S+)', text)]


def man_paragraphs(text: str) -> list[str]:
    """Paragraphs of a manual page in man or mdoc macros; tables, definitions of macros and conditions are left out."""
    found: list[str] = []
    parts: list[str] = []
    inside = ""  # what ends a part that is skipped
    for line in text.splitlines():
        if inside:
            inside = "" if line.startswith(inside) else inside
            continue
        if not line.startswith((".", "'")):
            if not line.strip():
                found.append(" ".join(parts))
                parts.clear()
            parts.append(ROFF_ESCAPE.sub(_roff_escape, line))
            continue
        macro, _, rest = line[1:].lstrip().partition(" ")
        if macro in {"de", "am", "ig", "TS", "if", "ie", "el"}:
            opens = "\\{" in rest
            inside = ".TE" if macro == "TS" else ".." if macro in {"de", "am", "ig"} else ".\\}" if opens else ""
        if macro in ROFF_BREAKS:
            found.append(" ".join(parts))
            parts.clear()
        if macro in ROFF_SILENT or macro.startswith(("\\", '"')) or not macro:
            continue
        arguments = _roff_arguments(rest)
        if macro == "IP":
            arguments = arguments[:1]
        elif macro in {"TP", "HP", "UR", "MT", "Bl", "Bd"}:
            arguments = []
        joined = ("" if macro in ROFF_JOINED else " ").join(arguments)
        parts.append(ROFF_ESCAPE.sub(_roff_escape, joined))
        if macro in {"SH", "SS", "Sh", "Ss"}:
            found.append(" ".join(parts))
            parts.clear()
    found.append(" ".join(parts))
    return _tidy(found)


POD_CODE = re.compile(r"[A-Z]<(?:<+ (.*?) >+|([^<>]*))>", re.DOTALL)


def pod_paragraphs(text: str) -> list[str]:
    """Paragraphs of Perl's documentation format; its codes (``B<...>``, ``L<...>``) give their text."""

    def plain(match: re.Match[str]) -> str:
        inner = match[1] if match[1] is not None else match[2]
        if match[0].startswith("E"):
            return {"lt": "<", "gt": ">", "verbar": "|", "sol": "/"}.get(inner) or html.unescape(f"&{inner};")
        if match[0].startswith(("X", "Z")):
            return ""
        return inner.partition("|")[0] if match[0].startswith("L") else inner

    found = []
    for block in re.split(r"\n\s*\n", text):
        if re.match(r"=(head\d|item)\b", block):
            block = block.partition(" ")[2]  # noqa: PLW2901
        elif block.startswith("="):
            continue
        for _ in range(3):  # codes nest
            block = POD_CODE.sub(plain, block)  # noqa: PLW2901
        found.append(block)
    return _tidy(found)


def text_paragraphs(text: str) -> list[str]:
    """Blocks between blank lines, or lines that hold only a ``%`` (fortune files)."""
    return _tidy(re.split(r"\n[ \t]*\n|\n%\n", text))


def _tidy(found: list[str]) -> list[str]:
    """One line each, single spaces, no control characters, only what holds a letter."""
    tidy = (
        " ".join(re.sub(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\ufeff]", "", text).replace("¶", "").split())
        for text in found
    )
    return [text for text in tidy if any(character.isalpha() for character in text)]


def read_document(path: Path) -> list[str]:
    """Paragraphs of one file, told apart by its name; .gz is unpacked. Bytes that are not UTF-8 are read as Latin-1."""
    data = path.read_bytes()
    name = path.name
    if name.endswith(".gz"):
        data, name = gzip.decompress(data), name[:-3]
    if b"\0" in data[:1024]:  # a program or an index
        return []
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    ending = Path(name).suffix
    if ending in {".html", ".htm"}:
        return html_paragraphs(text)
    if ending == ".pod":
        return pod_paragraphs(text)
    if re.fullmatch(r"\.[1-8][a-z]*", ending):
        return man_paragraphs(text)
    return text_paragraphs(text)
