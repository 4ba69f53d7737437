"""Bundles that somebody made to do harm: every one is refused by an error that names the file and the key."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from hostile_json import DIGITS, Literal, in_place_of, replace_at, within, write_json
from ziprerank.bundle import Bundle
from ziprerank.errors import MOST_TEXT, BundleError
from ziprerank.graph_files import files_read_by
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions, load_engine

LONG = "x" * 1_000_000


def manifest_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "ziprerank.json").read_text())
    return content


def refusal(bundle: Path, **options: Any) -> str:
    with within(60), pytest.raises(BundleError) as caught:
        Bundle.load(bundle, **options)
    assert len(str(caught.value)) < MOST_TEXT + 100
    return str(caught.value)


def list_again(bundle: Path, *names: str) -> None:
    """Writes size and digest of files that were changed into the manifest, as whoever changed them would."""
    content = manifest_of(bundle)
    for name in names:
        data = (bundle / name).read_bytes()
        content["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(bundle / "ziprerank.json", content)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("format_version", "1", "format_version"),
        ("format_version", 0, "format_version"),
        ("format_version", -1, "format_version"),
        ("format_version", True, "format_version"),
        ("format_version", Literal(DIGITS), "400 digits"),
        ("bundle_id", 7, "bundle_id"),
        ("bundle_id", "x" * 300, "bundle_id"),
        ("created_by", None, "created_by"),
        ("target", ["cpu"], "target"),
        ("precision", {}, "precision"),
        ("precision", LONG, "precision"),
        ("image", [], "image"),
        ("image.patch_size", 16.5, "patch_size"),
        ("image.patch_size", Literal(DIGITS), "400 digits"),
        ("image.patch_size", 0, "image"),
        ("image.patch_size", -16, "patch_size"),
        ("image.patch_size", 1 << 40, "patch_size"),
        ("image.merge_size", 1 << 40, "merge_size"),
        ("image.min_pixels", 0, "min_pixels"),
        ("image.min_pixels", 1 << 30, "image"),
        ("image.max_pixels", -1, "max_pixels"),
        ("image.max_pixels", 1, "image"),
        ("image.longest_side", 1 << 40, "longest_side"),
        ("image.dpi", Literal("NaN"), "NaN"),
        ("image.dpi", Literal("1e999"), "1e999"),
        ("image.dpi", True, "dpi"),
        ("image.std", [0.5, 0, 0.5], "std"),
        ("image.std", [0.5], "std"),
        ("image.mean", ["grey"] * 3, "mean"),
        ("prompt.lines", "{query}", "lines"),
        ("prompt.lines", [1], "lines"),
        ("prompt.page", 5, "page"),
        ("prompt.suffix", LONG, "suffix"),
        ("prompt.prefix", Literal('"\\ud800"'), "prefix"),
        ("tokens.letters", [], "letters"),
        ("tokens.letters", list(range(30)), "letters"),
        ("tokens.letters", [5, 5], "letters"),
        ("tokens.letters", [-1], "letters"),
        ("tokens.letters", [Literal(DIGITS)], "400 digits"),
        ("tokens.image_pad", 1 << 62, "image_pad"),
        ("tokens.image_pad", "6", "image_pad"),
        ("defaults.keep_ratio", Literal("-Infinity"), "-Infinity"),
        ("defaults.keep_ratio", -0.5, "keep_ratio"),
        ("defaults.keep_ratio", "half", "keep_ratio"),
        ("defaults.window", 0, "defaults"),
        ("defaults.stride", 0, "defaults"),
        ("defaults.stride", 21, "defaults"),
        ("defaults.prune_text", 1, "prune_text"),
        ("files", ["vision.onnx"], "files"),
        ("files.tokenizer", {"size": 1, "sha256": "0" * 64}, "tokenizer"),
        ("files.vision", "big", "vision"),
        ("model", 3, "model"),
        ("source", [], "source"),
        ("parity", "certified", "parity"),
        ("quantisation", "int4", "quantisation"),
    ],
)
def test_values_that_a_manifest_cannot_have(bundle_copy: Path, path: str, value: Any, key: str) -> None:
    content = manifest_of(bundle_copy)
    replace_at(content, path, value)
    write_json(bundle_copy / "ziprerank.json", content)
    message = refusal(bundle_copy)
    assert key in message
    assert "ziprerank.json" in message or str(bundle_copy) in message


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "", ".", "a/../../x", "a//b", "./vision.onnx", "x" * 300, "a/" + "é" * 200, "nul\0", "a/"],
)
def test_names_that_no_file_of_a_bundle_has(bundle_copy: Path, name: str) -> None:
    content = manifest_of(bundle_copy)
    content["files"][name] = {"size": 1, "sha256": "0" * 64}
    write_json(bundle_copy / "ziprerank.json", content)
    assert refusal(bundle_copy).startswith("ziprerank.json: files[")


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"size": -1, "sha256": "0" * 64}, "size"),
        ({"size": "1", "sha256": "0" * 64}, "size"),
        ({"size": Literal(DIGITS), "sha256": "0" * 64}, "400 digits"),
        ({"size": 1, "sha256": 7}, "sha256"),
        ({"size": 1, "sha256": "z" * 64}, "sha256"),
        ({"size": 1, "sha256": LONG}, "sha256"),
        ({"size": 1}, "sha256"),
        ([], "model.safetensors"),
    ],
)
def test_entries_that_no_file_can_have(bundle_copy: Path, entry: Any, key: str) -> None:
    content = manifest_of(bundle_copy)
    content["files"]["model.safetensors"] = entry
    write_json(bundle_copy / "ziprerank.json", content)
    message = refusal(bundle_copy)
    assert key in message
    assert message.startswith("ziprerank.json") or str(bundle_copy) in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ("null", "must hold a JSON object, not NoneType"),
        ("{}", "misses 'format_version'"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64 levels"),
        ('{"target": "cpu", "target": "cuda"}', "the key 'target' stands twice"),
        ('{"image": {"dpi": 1, "dpi": 2}}', "the key 'dpi' stands twice"),
        ('{"\\ud800": 1}', "half a surrogate pair"),
        ('{"a": [' + "0," * 1_100_000 + "0]}", "over 1,000,000 values"),
        ('{"a": "' + "x" * (5 << 20) + '"}', "has more than 4,194,304 bytes"),
    ],
)
def test_manifests_that_are_no_json_of_ours(bundle_copy: Path, text: str, reason: str) -> None:
    (bundle_copy / "ziprerank.json").write_text(text)
    message = refusal(bundle_copy)
    assert reason in message
    assert "ziprerank.json" in message


def test_a_manifest_that_is_not_utf_8(bundle_copy: Path) -> None:
    (bundle_copy / "ziprerank.json").write_bytes(b'{"target": "\xff"}')
    assert "byte 12 is not UTF-8" in refusal(bundle_copy)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["ziprerank.json", "tokenizer.json", "model.safetensors", "vision.onnx"])
def test_no_file_in_the_place_of_a_file(bundle_copy: Path, name: str, kind: str) -> None:
    in_place_of(bundle_copy / name, kind)
    assert refusal(bundle_copy, check="size") == f"{bundle_copy / name} is no regular file: copy or export it again"


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_no_file_in_the_place_of_the_tokenizer_of_an_unchecked_bundle(bundle_copy: Path, kind: str) -> None:
    in_place_of(bundle_copy / "tokenizer.json", kind)
    with within(60), pytest.raises(BundleError, match="is no regular file"):
        Reranker.from_bundle(bundle_copy, check="none")


@pytest.mark.parametrize("path", ["x" * 5000, "nul\0"])
def test_a_path_that_no_file_system_takes(path: str) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        Bundle.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "{" * 100_000,
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}}',
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"\\ud800": 0}, "merges": []}}',
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": ' + DIGITS + '}, "merges": []}}',
    ],
)
def test_tokenizers_that_are_none(bundle_copy: Path, text: str) -> None:
    (bundle_copy / "tokenizer.json").write_text(text)
    list_again(bundle_copy, "tokenizer.json")
    with within(60), pytest.raises(BundleError) as caught:
        Reranker.from_bundle(bundle_copy)
    assert str(bundle_copy / "tokenizer.json") in str(caught.value)


def test_a_file_that_a_graph_reads_is_listed(bundle_copy: Path) -> None:
    """The weights are zeroed, and nothing in the manifest speaks of them."""
    weights = bundle_copy / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    content = manifest_of(bundle_copy)
    del content["files"]["model.safetensors"]
    write_json(bundle_copy / "ziprerank.json", content)
    for check in ("full", "size"):
        message = refusal(bundle_copy, check=check)
        assert "reads 'model.safetensors', which ziprerank.json does not list" in message
    Bundle.load(bundle_copy, check="none")


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/passwd", "", "x" * 4000])
def test_a_graph_reads_nothing_outside_of_its_bundle(bundle_copy: Path, place: str) -> None:
    model = onnx.load(bundle_copy / "vision.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    (bundle_copy / "vision.onnx").write_bytes(model.SerializeToString())
    list_again(bundle_copy, "vision.onnx")
    assert "which is no name of a file of the bundle" in refusal(bundle_copy)


def test_external_data_is_found_wherever_a_graph_may_have_it(tmp_path: Path) -> None:
    def outside(name: str) -> onnx.TensorProto:
        tensor = onnx.TensorProto(name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=name)
        return tensor

    helper = onnx.helper
    inner = helper.make_graph([], "inner", [], [], initializer=[outside("subgraph")])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=outside("attribute")),
        helper.make_node("If", ["a"], ["b"], then_branch=inner),
        helper.make_node("EPContext", [], ["c"], domain="com.microsoft", embed_mode=0, ep_cache_context="engine"),
    ]
    graph = helper.make_graph(nodes, "graph", [], [], initializer=[outside("initializer")])
    function = helper.make_function(
        "own", "f", [], ["d"], [helper.make_node("Constant", [], ["d"], value=outside("function"))], []
    )
    sparse = onnx.SparseTensorProto(values=outside("values"), indices=outside("indices"))
    graph.sparse_initializer.append(sparse)
    onnx.save(helper.make_model(graph, functions=[function]), tmp_path / "graph.onnx")
    assert files_read_by(tmp_path / "graph.onnx") == {
        *("subgraph", "attribute", "engine", "initializer", "function", "values", "indices")
    }


@pytest.mark.parametrize("data", [b"", b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"\xff" * 20, b"\x3a\x05ab", b"\x09\x01"])
def test_graphs_that_are_none(bundle_copy: Path, data: bytes) -> None:
    (bundle_copy / "vision.onnx").write_bytes(data)
    list_again(bundle_copy, "vision.onnx")
    assert f"{bundle_copy / 'vision.onnx'} is" in refusal(bundle_copy)


@pytest.mark.parametrize("name", ["model.safetensors", "vision.onnx"])
def test_what_was_checked_is_what_is_loaded(bundle_copy: Path, name: str) -> None:
    """A file of the same size and time takes the place of one that was checked."""
    bundle = Bundle.load(bundle_copy)
    file = bundle_copy / name
    status, other = file.stat(), bundle_copy / "other"
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    with pytest.raises(BundleError, match="was changed while the bundle was loaded: load it again"):
        load_engine(bundle, EngineOptions(threads=1))
    load_engine(Bundle.load(bundle_copy), EngineOptions(threads=1))


def test_a_file_that_another_bundle_links_to_is_unchanged(bundle_copy: Path, tmp_path: Path) -> None:
    """Exports link to a checkpoint's weights, which sets the time at which the file was changed."""
    bundle = Bundle.load(bundle_copy)
    file = bundle_copy / "model.safetensors"
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # the clock of a file system may be coarse
        (tmp_path / "linked").unlink(missing_ok=True)
        (tmp_path / "linked").hardlink_to(file)
    load_engine(bundle, EngineOptions(threads=1))


def test_the_tokenizer_that_was_checked_is_the_one_that_is_read(bundle_copy: Path) -> None:
    bundle = Bundle.load(bundle_copy)
    file = bundle_copy / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(BundleError, match=r"tokenizer\.json was changed: SHA-256"):
        bundle.read("tokenizer.json")
