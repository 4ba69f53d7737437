"""Tells which scripts PDFium draws here although the PDF does not hold their fonts."""

from __future__ import annotations

from ziprerank.inputs.fonts import SCRIPTS, probe_page
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.workers.limits import PageLimits


def scripts_with_fonts(limits: PageLimits | None = None) -> dict[str, bool]:
    """Returns for each script whether text is drawn whose fonts are named as usual, and not in the PDF.

    Args:
        limits: Where pages are rendered; None is the defaults.
    """
    found = {}
    for script in SCRIPTS:
        file = StoredFile(probe_page(script), script, limits)
        found[script] = not file.render(1, (90, 220), warn=True).warnings
        file.close()
    return found
