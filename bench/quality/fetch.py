"""Downloads the documents from their Debian packages into a folder, and keeps those that are there.

    python -m bench.quality.fetch FOLDER [--development]

The five documents of queries.jsonl are the default, ``--development`` fetches the four of development.jsonl.
The questions are put beside them, so that ``ziprerank eval FOLDER OUT`` ranks the set.
Needs apt-get and dpkg-deb on a machine whose package lists hold the pinned versions, as Debian 12 does.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

from .documents import DEVELOPMENT, DOCUMENTS, Document, sha256, sha256_of
from .queries import DEVELOPMENT as DEVELOPMENT_QUERIES
from .queries import QUERIES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--development", action="store_true", help="the four of development.jsonl instead")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DEVELOPMENT_QUERIES if options.development else QUERIES, folder / QUERIES.name)
    for document in DEVELOPMENT if options.development else DOCUMENTS:
        file = folder / document.name
        if file.is_file() and sha256(file) == document.sha256:
            print(f"{file}: already there")
            continue
        data = download(document)
        partial = file.with_name(f"{file.name}.partial")
        partial.write_bytes(data)
        partial.replace(file)
        print(f"{file}: from {document.package} {document.version}")


def download(document: Document) -> bytes:
    """Downloads the package and returns the checked PDF. Raises SystemExit if that fails."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: {way_out(document)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # apt-get downloads as another user
        run("apt-get", "download", f"{document.package}={document.version}", folder=folder, document=document)
        (package,) = folder.glob("*.deb")
        run("dpkg-deb", "-x", package.name, "content", folder=folder, document=document)
        return extracted(folder / "content", document)


def extracted(content: Path, document: Document) -> bytes:
    """Returns the checked PDF of an unpacked package. Raises SystemExit if it is missing or differs."""
    plain = content / document.path
    packed = plain.with_name(f"{plain.name}.gz")
    if plain.is_file():
        data = plain.read_bytes()
    elif packed.is_file():
        data = gzip.decompress(packed.read_bytes())
    else:
        raise SystemExit(f"{document.package} {document.version} holds no {document.path}: {way_out(document)}")
    if sha256_of(data) != document.sha256:
        raise SystemExit(
            f"{document.path} of {document.package} {document.version} has SHA-256 {sha256_of(data)}, "
            f"pinned is {document.sha256}: {way_out(document)}"
        )
    return data


def run(*command: str, folder: Path, document: Document) -> None:
    """Runs a command in ``folder``. Raises SystemExit with the last line that it printed if it fails."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise SystemExit(f"{' '.join(command)} failed: {said}\n{way_out(document)}")


def way_out(document: Document) -> str:
    """Says where else to get a document."""
    return (
        f"Debian 12 has {document.package} {document.version}, after apt-get update; "
        f"or put its {document.name} (SHA-256 {document.sha256}) into the folder yourself"
    )


if __name__ == "__main__":
    main()
