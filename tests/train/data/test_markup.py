"""Stripping of markup, on small inputs written by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

from ziprerank.train.data.markup import (
    html_paragraphs,
    man_paragraphs,
    pod_paragraphs,
    read_document,
    text_paragraphs,
)

HTML = """<!DOCTYPE html><html><head><title>Not this</title><style>p { color: red }</style></head><body>
<div class="navheader"><p>Home<br>Next <p>Up</div>
<h1>Ferries &amp; tides<a class="headerlink" href="#x">¶</a></h1>
<p>The <b>first</b> boat leaves
at&nbsp;six.<script>var p = "<p>no</p>";</script>
<p>Second paragraph<br/>after a break.
<ul><li>One point<li>Another <em>point</em></ul>
<table><tr><th>Port</th><th>Depth</th></tr><tr><td>North</td><td>12&#160;m</td></tr></table>
<pre>code  line
next</pre>
<footer>Imprint</footer>
</body></html>"""


def test_html() -> None:
    assert html_paragraphs(HTML) == [
        "Ferries & tides",
        "The first boat leaves at six.",
        "Second paragraph",
        "after a break.",
        "One point",
        "Another point",
        "Port Depth",
        "North 12 m",
        "code line next",
    ]


MAN = r""".\" a comment with words
.TH TIDE 1 "2024-01-01" "Ferry tools"
.de Xx
never shown
..
.SH NAME
tide \- show the \fBhigh\fR water
.SH "SEE ALSO"
.BR moon (1),
.BR sun (1)
.PP
Give the \fI\-\-port\fP option (\(lqdeep\(rq) or\e
.IR file ...
.br
then wait.
.ie n words of nroff
.el \{
hidden words
.\}
.TP
.B \-v
Be \s-1VERBOSE\s0.\" trailing words
.IP "first point" 4
text of it
.TS
l l.
table	cell
.TE
'\" another comment
Last \[u00E9]t\['e] line.
"""


def test_man() -> None:
    assert man_paragraphs(MAN) == [
        "NAME",
        "tide - show the high water",
        "SEE ALSO",
        "moon(1), sun(1)",
        "Give the --port option (“deep”) or\\ file...",
        "then wait.",
        "-v Be VERBOSE.",
        "first point text of it",
        "Last été line.",
    ]


def test_mdoc() -> None:
    page = '.Dd May 1\n.Dt TIDE 1\n.Sh NAME\n.Nm tide\n.Nd "show water"\n.Sh DESCRIPTION\n.Pp\nIt shows.\n'
    assert man_paragraphs(page) == ["NAME", "tide show water", "DESCRIPTION", "It shows."]


def test_pod() -> None:
    text = (
        "=head1 NAME\n\ntide - B<high I<water>>\n\n=over 4\n\n=item C<< $a->b >>\n\n"
        "See L<the moon|moon/phase>, E<lt>X<index>here.\n\n=back\n\n=cut\n"
    )
    assert pod_paragraphs(text) == ["NAME", "tide - high water", "$a->b", "See the moon, <here."]


def test_text_and_fortunes() -> None:
    assert text_paragraphs("one\ntwo\n\n  three \n \nfour\x0c\n----\n") == ["one two", "three", "four ----"]
    assert text_paragraphs("A saying.\n%\nAnother\nsaying.\n%\n") == ["A saying.", "Another saying."]


def test_files_are_told_apart_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.1.gz").write_bytes(gzip.compress(b".SH NAME\ntide\n"))
    (tmp_path / "a.html").write_text("<p>tide<p>moon", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")  # Latin-1
    (tmp_path / "a").write_bytes(b"\x7fELF\0\0")
    assert read_document(tmp_path / "a.1.gz") == ["NAME", "tide"]
    assert read_document(tmp_path / "a.html") == ["tide", "moon"]
    assert read_document(tmp_path / "a.txt") == ["café"]
    assert read_document(tmp_path / "a") == []
