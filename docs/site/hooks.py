"""MkDocs hook: links from a page to a file of the repository outside ``docs/`` lead to that file at the host.

Such links are relative in the sources, where GitHub and editors follow them. One that leads nowhere is a warning, and
so fails the strict build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.repository_links")
LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Rewrites the links of one page; MkDocs calls it with these keywords."""
    docs = Path(config.docs_dir).resolve()
    here = (docs / page.file.src_uri).parent

    def rewrite(link: re.Match[str]) -> str:
        target = (here / link["path"]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.is_relative_to(docs.parent) or not target.exists():
            LOG.warning("%s: '%s' is no file of the repository", page.file.src_uri, link["path"])
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        path = target.relative_to(docs.parent).as_posix()
        return f"]({config.extra['repository']}/{kind}/main/{path}{link['anchor'] or ''})"

    return LINK.sub(rewrite, markdown)
