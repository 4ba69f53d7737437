"""Links between files of the repository lead somewhere, in the pages that the site's strict build does not read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[2]
FOLDERS = (".github", "bench", "deploy", "engine", "export", "kernels", "python", "train")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def broken_links(text: str, folder: Path) -> list[str]:
    """The links of a page in ``folder`` to files or headings that do not exist. Addresses are not looked at."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", text)):
        path, _, anchor = link.partition("#")
        target = folder / path
        if re.match(r"\w+:", link):
            continue
        if path and not target.exists():
            broken.append(link)
        elif anchor:
            other = target.read_text(encoding="utf-8") if path else text
            if anchor not in {slugify(heading, "-") for heading in _HEADING.findall(_FENCE.sub("", other))}:
                broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A `b` c\n```sh\n# no heading\n```\n")
    good = "[a](other.md) [b](other.md#a-b-c) [c](#here) [d](https://example.org/none)\n\n## Here\n"
    assert broken_links(good, tmp_path) == []
    bad = ["none.md", "other.md#no-heading", "#there"]
    assert broken_links(good + "".join(f"[x]({link})" for link in bad), tmp_path) == bad
