"""PDFs out of packages; the tools that download and unpack them are played by scripts."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest
from ziprerank.train.data import manuals
from ziprerank.train.data.packages import download
from ziprerank.train.data.page_store import documents_in
from ziprerank.train.errors import TrainError

TOOLS = {
    "apt-get": "#!/bin/sh\n/bin/echo $2 > harbour.deb\n",
    # dpkg-deb -x ARCHIVE FOLDER
    "dpkg-deb": """#!/bin/sh
/bin/mkdir -p $3/doc
/bin/cp $GUIDE $3/doc/guide.pdf.gz
echo plain > $3/doc/plain.pdf
/bin/ln -s /nowhere/else.pdf.gz $3/doc/link.pdf.gz
""",
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the only one in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write(tool: Path, text: str) -> None:
    tool.write_text(text)
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def test_pdfs_of_packages(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in TOOLS.items():
        write(programs / name, text)
    (tmp_path / "guide").write_bytes(gzip.compress(b"a guide"))
    monkeypatch.setenv("GUIDE", str(tmp_path / "guide"))
    for _ in range(2):  # what is there already stays
        manuals.main([str(tmp_path / "pdfs"), "--packages", "harbour-doc=1", "tides-doc"])
    assert capsys.readouterr().out == "harbour-doc=1: 2 PDFs\ntides-doc: 2 PDFs\n" * 2
    assert (tmp_path / "pdfs/harbour-doc/doc/guide.pdf").read_bytes() == b"a guide"
    found = documents_in([tmp_path / "pdfs"], [])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "pdfs/harbour-doc/doc/guide.pdf",
        "pdfs/harbour-doc/doc/plain.pdf",
    ]  # the second package's are the same


def test_a_package_that_is_not_there(programs: Path, tmp_path: Path) -> None:
    """What apt-get says reaches the user; without apt-get the way out is named. No network in either case."""
    with pytest.raises(TrainError, match="apt-get is not installed"):
        download("harbour-doc=1", tmp_path / "out")
    write(programs / "apt-get", "#!/bin/sh\necho 'E: Version 1 was not found' >&2\nexit 100\n")
    with pytest.raises(TrainError, match=r"harbour-doc=1: E: Version 1 was not found; run apt-get update"):
        download("harbour-doc=1", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())  # nothing half done stays
