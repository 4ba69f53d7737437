"""``docs/`` builds as a site, strictly and without a network, and a broken link fails the build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "mkdocs.yml"


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """The build has a proxy that answers nothing, so whatever it fetched would fail."""
    nowhere = "http://127.0.0.1:9"
    variables = {**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", CONFIG, "--site-dir", tmp_path],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("index.html")]
    loaded = [
        url for page in pages for url in re.findall(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="([^"]+)', page)
    ]
    assert loaded
    assert not [url for url in loaded if re.match(r"(?:https?:)?//", url)]
    reference = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="ziprerank.Reranker.from_bundle"' in reference
    assert 'id="ziprerank.errors.PageError"' in reference


@pytest.mark.parametrize(
    "link",
    [
        "[gone](gone.md)",
        "[no such part](other.md#gone)",
        "[outside](../none.py)",
        "[above](../../../../../../etc/none)",
    ],
)
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    (tmp_path / "kept.py").touch()
    written = _write_site(tmp_path, f"[other](other.md#part) and [source](../kept.py)\n\n{link}\n")
    with pytest.raises(Abort):
        build(load_config(str(written)))


def test_links_out_of_docs_lead_to_the_repository(tmp_path: Path) -> None:
    (tmp_path / "kept.py").touch()
    (tmp_path / "folder").mkdir()
    written = _write_site(tmp_path, "[source](../kept.py#L3), [all](../folder), [other](other.md#part)\n")
    build(load_config(str(written)))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    repository = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["extra"]["repository"]
    assert f'href="{repository}/blob/main/kept.py#L3"' in page
    assert f'href="{repository}/tree/main/folder"' in page
    assert 'href="other/#part"' in page


def _write_site(folder: Path, page: str) -> Path:
    """A site of two pages, configured as ours but for what takes long."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    del config["nav"], config["plugins"], config["theme"]
    config |= {"hooks": [str(CONFIG.parent / hook) for hook in config["hooks"]], "site_dir": str(folder / "out")}
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text(page, encoding="utf-8")
    (folder / "docs" / "other.md").write_text("# Other\n\n## Part\n", encoding="utf-8")
    written = folder / "mkdocs.yml"
    written.write_text(yaml.safe_dump(config), encoding="utf-8")
    return written
