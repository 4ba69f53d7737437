"""Reading a bundle: what is checked, and what the errors say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ziprerank.bundle import FORMAT_VERSION, Bundle
from ziprerank.errors import BundleError


def edit(bundle: Path, **changes: Any) -> None:
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    for key, value in changes.items():
        table, _, name = key.rpartition("__")
        target = manifest[table] if table else manifest
        if value is None:
            del target[name]
        else:
            target[name] = value
    (bundle / "ziprerank.json").write_text(json.dumps(manifest))


def refusal(bundle: Path, **options: Any) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle, **options)
    return str(caught.value)


def test_the_default_bundle_is_whole_and_small() -> None:
    bundle = Bundle.load()
    assert bundle.precision == "fp32"
    assert len(bundle.tokens.letters) == 20
    assert sum(file.size for file in bundle.files.values()) <= 25e6
    assert Bundle.load(bundle.path, check="size") == bundle


def test_unknown_keys_are_tolerated(bundle_copy: Path) -> None:
    edit(bundle_copy, from_the_future={"a": 1}, prompt__tone="kind", defaults__later=3)
    assert Bundle.load(bundle_copy).defaults.window >= 1


def test_a_changed_byte_is_found(bundle_copy: Path) -> None:
    weights = bundle_copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    message = refusal(bundle_copy)
    assert message.startswith(f"{weights} was changed: SHA-256 ")
    assert message.endswith("copy or export the bundle again")
    Bundle.load(bundle_copy, check="size")  # what "size" cannot see


@pytest.mark.parametrize("check", ["full", "size"])
def test_a_truncated_file(bundle_copy: Path, check: str) -> None:
    graph = bundle_copy / "vision.onnx"
    data = graph.read_bytes()
    graph.unlink()
    graph.write_bytes(data[:-10])
    assert (
        refusal(bundle_copy, check=check)
        == f"{graph} has {len(data) - 10} bytes, its manifest says {len(data)}: copy the bundle again"
    )


def test_a_missing_file(bundle_copy: Path) -> None:
    (bundle_copy / "rerank.onnx").unlink()
    assert refusal(bundle_copy) == f"{bundle_copy} misses rerank.onnx: copy the whole bundle again"


def test_a_newer_format(bundle_copy: Path) -> None:
    edit(bundle_copy, format_version=FORMAT_VERSION + 1)
    assert refusal(bundle_copy) == f"{bundle_copy} has bundle format 3, this ziprerank reads up to 2: upgrade ziprerank"


def test_no_bundle_there(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refusal(nowhere) == f"no bundle at {nowhere}: a bundle is a directory that holds ziprerank.json"
    assert refusal(tmp_path) == f"{tmp_path} is not a bundle, it holds no ziprerank.json: run ziprerank export first"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle_id": None}, "ziprerank.json misses 'bundle_id'"),
        ({"image__min_pixels": "many"}, "ziprerank.json: 'min_pixels' has the wrong type str"),
        ({"image__dpi": "many"}, "ziprerank.json: 'dpi' has the wrong type str"),
        ({"image__dpi": 0}, "ziprerank.json: image rules that no page can meet"),
        ({"prompt__query_case": "upper"}, "ziprerank.json: query_case is 'upper', this ziprerank knows keep, lower"),
        ({"prompt__lines": ["Rank."]}, "ziprerank.json: no line of prompt.lines holds {query}"),
        ({"prompt__page": "{image}{image}"}, "ziprerank.json: prompt.page must hold {image} exactly once"),
        ({"defaults__keep_ratio": 0}, "ziprerank.json: defaults that no ranking can use with 20 letters"),
        ({"defaults__blank": "skip"}, "ziprerank.json: blank is 'skip', this ziprerank knows drop, keep"),
        ({"defaults__window": 21}, "ziprerank.json: defaults that no ranking can use with 20 letters"),
        ({"files": {}}, "ziprerank.json: files does not list tokenizer.json"),
        ({"files": {"../x": {"size": 1, "sha256": ""}}}, "ziprerank.json: files['../x'] leaves the bundle's folder"),
    ],
)
def test_a_manifest_that_makes_no_sense(bundle_copy: Path, changes: dict[str, Any], message: str) -> None:
    edit(bundle_copy, **changes)
    assert refusal(bundle_copy).startswith(message)


def test_a_manifest_that_is_no_json(bundle_copy: Path) -> None:
    (bundle_copy / "ziprerank.json").write_text("{")
    assert "is not valid JSON" in refusal(bundle_copy)
    (bundle_copy / "ziprerank.json").write_text("[]")
    assert refusal(bundle_copy).endswith("must hold a JSON object, not list")


def test_an_unknown_check() -> None:
    with pytest.raises(BundleError, match="must be 'full', 'size' or 'none'"):
        Bundle.load(check="some")  # type: ignore[arg-type]


def test_the_manifest_alone(bundle_copy: Path) -> None:
    (bundle_copy / "rerank.onnx").unlink()
    with pytest.raises(BundleError, match=r"misses rerank\.onnx"):
        Bundle.load(bundle_copy, check="size")
    assert Bundle.load(bundle_copy, check="none").bundle_id == Bundle.load().bundle_id
