"""What a newcomer meets names things that exist: workflows, forms, CONTRIBUTING, SECURITY, RELEASING, the citation."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml
import ziprerank

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", "docs/install.md", "docs/cli.md")
FOLDERS = ("bench", "deploy", "docs", "engine", "export", "kernels", "python", "tests", "train", ".ci", ".github")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w")


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_paths_and_make_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = set(_PATH.findall(re.sub(r"https?://\S+", "", text)))
    assert not [path for path in paths if not (ROOT / path).exists() and not (ROOT / "docs" / path).exists()]
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_example_change_still_applies() -> None:
    """Each diff in CONTRIBUTING names its file in its first line; what it finds there must be there, once."""
    diffs = [code for language, code in _BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()) if language == "diff"]
    assert diffs
    for diff in diffs:
        title, *lines = diff.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        assert (ROOT / title.removeprefix("# ")).read_text(encoding="utf-8").count(before) == 1, title


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 700
    assert text.count("<!-- measured: written by bench/report.py -->\n") == text.count("<!-- /measured -->\n") == 1


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_run_what_exists(path: Path) -> None:
    workflow = load(str(path.relative_to(ROOT)))
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 360
        for step in job["steps"]:
            assert len({"run", "uses"} & step.keys()) == 1
            for word in shlex.split(step.get("run", "")):
                assert not word.startswith(".ci/") or (ROOT / word).stat().st_mode & 0o100
    assert workflow["permissions"] == {"contents": "read"}


def test_wheels_rank_a_page() -> None:
    wheels = tomllib.loads(PROJECT)["tool"]["cibuildwheel"]
    (sample,) = re.findall(r"\{project\}/(\S+)", " ".join(wheels["test-command"]))
    assert (ROOT / sample).is_file()
    assert wheels["manylinux-x86_64-image"] == wheels["manylinux-aarch64-image"] == "manylinux_2_28"
    machines = load(".github/workflows/wheels.yml")["jobs"]["wheels"]["strategy"]["matrix"]["machine"]
    assert {name.endswith("-arm") for name in machines} == {False, True}


def test_only_a_tag_publishes_and_without_a_token() -> None:
    workflow = load(".github/workflows/wheels.yml")
    publish = workflow["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert (publish["if"], publish["environment"]) == ("github.event_name == 'push'", "pypi")
    assert workflow[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}  # YAML reads `on` as true
    assert "secrets." not in (ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")


def test_images_are_built_for_both_processors() -> None:
    steps = load(".github/workflows/wheels.yml")["jobs"]["images"]["steps"]
    (build,) = [step["with"] for step in steps if step["uses"].startswith("docker/build-push-action")]
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert build["push"] == "${{ github.event_name == 'push' }}"
    stages = re.findall(r"^FROM base AS (\w+)$", (ROOT / build["file"]).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(stages) == load(".github/workflows/wheels.yml")["jobs"]["images"]["strategy"]["matrix"]["target"]


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms(name: str) -> None:
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
    assert all(field["attributes"]["label"] for field in form["body"])


def test_pre_commit_pins_the_linters_of_the_dev_extra() -> None:
    pins = {
        pin
        for repository in load(".pre-commit-config.yaml")["repos"]
        for hook in repository["hooks"]
        for pin in hook["additional_dependencies"]
    }
    assert pins
    assert all(f'"{pin}"' in PROJECT for pin in pins)


def test_the_citation_and_the_chart_have_this_version() -> None:
    citation, chart = load("CITATION.cff"), load("deploy/helm/ziprerank/Chart.yaml")
    assert citation["version"] == chart["version"] == chart["appVersion"] == ziprerank.__version__
    assert citation["license"] == "Apache-2.0"
    assert f'license = "{citation["license"]}"' in PROJECT
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2605.11864"


def test_one_address_of_the_repository() -> None:
    address = load("mkdocs.yml")["extra"]["repository"]
    assert load("CITATION.cff")["repository-code"] == address
    urls = re.search(r"^\[project\.urls\]\n(.*?)\n\n", PROJECT, re.MULTILINE | re.DOTALL)
    assert urls is not None
    assert set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", urls[1])) == {address}
    for name in ("SECURITY.md", ".github/ISSUE_TEMPLATE/config.yml"):
        assert f"{address}/security/advisories/new" in (ROOT / name).read_text(encoding="utf-8")
