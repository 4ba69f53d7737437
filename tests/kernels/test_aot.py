"""Compilation ahead of time for every target, without a GPU: checks code and arguments, not what a GPU does."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cubin
import pytest
import triton
import typer
from typer.testing import CliRunner
from ziprerank.cli.kernels import kernels as kernels_command
from ziprerank.kernels import CompiledKernel, KernelError, compile_kernels, describe
from ziprerank.kernels.aot import SCRATCH
from ziprerank.kernels.launch import KERNELS, TARGETS

SHARED_LIMIT = {
    80: 163,
    86: 99,
    87: 163,
    89: 99,
    90: 227,
    100: 227,
    103: 227,
    110: 227,
    120: 99,
    121: 99,
}  # KB of a block
PTX_SHARED_LIMIT = 99  # the least of them
SIZES = {"i32": 4}  # pointers are 8
PTX_TYPES = {"i32": "u32"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of the 8B model for all targets."""
    out = tmp_path_factory.mktemp("bundle") / "kernels"
    compile_kernels(out, 4096, "bf16", 4)
    return out


def table(directory: Path) -> dict:
    return json.loads((directory / "launch.json").read_text())


def check_resources(rows: list[CompiledKernel]) -> None:
    for row in rows:
        limit = SHARED_LIMIT[row.arch] if row.kind == "cubin" else PTX_SHARED_LIMIT
        assert row.spill == 0, row
        assert 0 < row.registers <= min(255, 65536 // row.threads), row
        assert row.shared <= limit * 1024, row


def check_arguments(directory: Path) -> None:
    """Checks that each file takes the arguments in the table: their number, order, sizes and offsets."""
    for kernel in table(directory)["kernels"]:
        types = [argument["type"] for argument in kernel["arguments"]]
        expected, offset = [], 0
        for size in (SIZES.get(name, 8) for name in types):
            offset += -offset % size
            expected.append((offset, size))
            offset += size
        for target in kernel["targets"]:
            code = (directory / target["file"]).read_bytes()
            if target["kind"] == "cubin":
                assert cubin.architecture(code) == target["arch"]
                assert cubin.parameters(code, target["entry"]) == expected
            else:
                text = code.decode()
                assert f".visible .entry {target['entry']}(" in text
                found = re.findall(rf"\.param \.(\w+) .*{target['entry']}_param_\d+", text)
                assert found == [PTX_TYPES.get(name, "u64") for name in types]


def test_every_target_is_there_and_spills_nothing(full: Path) -> None:
    rows = describe(full)
    found = {(row.kernel, row.arch, row.kind) for row in rows}
    names = [kernel.name for kernel in KERNELS]
    assert found == {(name, arch, "cubin") for name in names for arch in TARGETS} | {(n, 80, "ptx") for n in names}
    assert len(rows) == len(found)
    check_resources(rows)


def test_the_launch_table_says_what_the_files_take(full: Path) -> None:
    check_arguments(full)
    for kernel, spec in zip(table(full)["kernels"], KERNELS, strict=True):
        assert kernel["name"] == spec.name
        assert kernel["grid_over"] == spec.grid_over
        names = [argument["name"] for argument in kernel["arguments"]]
        assert names == [*(argument.name for argument in spec.arguments), *SCRATCH]
        for argument in kernel["arguments"]:
            assert argument.get("align") == (16 if argument["shape"].startswith("[") else None)
    assert table(full)["kernels"][1]["arguments"][0]["type"] == "*bf16"


def test_the_text_for_c_hosts_says_the_same(full: Path) -> None:
    lines = [line.split(" ") for line in (full / "launch.txt").read_text().splitlines()]
    assert lines[:2] == [["ziprerank-kernels", "1"], ["model", "4096", "4", "bf16"]]
    read: list[dict] = []
    for kind, *words in lines[2:]:
        if kind == "kernel":
            read.append({"name": words[0], "grid_over": words[1], "arguments": [], "targets": []})
        else:
            assert kind in ("argument", "target")
            read[-1][kind + "s"].append(words)
    for found, kernel in zip(read, table(full)["kernels"], strict=True):
        assert (found["name"], found["grid_over"]) == (kernel["name"], kernel["grid_over"])
        assert found["arguments"] == [[argument["name"], argument["type"]] for argument in kernel["arguments"]]
        names = ("arch", "kind", "file", "entry", "threads", "grid_step", "shared")
        assert found["targets"] == [[str(target[name]) for name in names] for target in kernel["targets"]]


def test_the_blocks_are_those_of_the_code(full: Path) -> None:
    """The table launches the block size that the PTX declares."""
    for kernel in table(full)["kernels"]:
        (fallback,) = (target for target in kernel["targets"] if target["kind"] == "ptx")
        text = (full / fallback["file"]).read_text()
        assert f".reqntid {fallback['threads']}" in text
        assert ".version 8.8" in text
        assert ".target sm_80\n" in text or ".target sm_80," in text


@pytest.mark.parametrize("arch", ["sm_87", "sm_90", "sm_110", "sm_120"])
def test_the_fallback_assembles_for_devices_that_have_no_cubin(full: Path, tmp_path: Path, arch: str) -> None:
    """Future chips have no cubin, and Orin and Thor none in older bundles; a driver has the same assembler."""
    for kernel in KERNELS:
        source, out = full / f"{kernel.name}.sm_80.ptx", tmp_path / "out.cubin"
        command = [triton.knobs.nvidia.ptxas_blackwell.path, "-v", f"-arch={arch}", str(source), "-o", str(out)]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in log


def test_rows_are_copied_16_bytes_at_a_time(full: Path) -> None:
    """The declared alignment allows wide copies; tensor cores multiply."""
    text = (full / "relevance_scores.sm_80.ptx").read_text()
    assert re.search(r"cp\.async\.cg\.shared\.global.* 0x10", text)
    assert "cp.async.ca" not in text
    assert "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" in text


def test_no_path_of_this_machine_is_in_the_files(full: Path) -> None:
    for file in full.iterdir():
        assert b"relevance.py" not in file.read_bytes()
        assert str(Path.cwd()).encode() not in file.read_bytes()


@pytest.mark.parametrize(("hidden", "dtype", "levels", "targets"), [(256, "fp32", 4, [90]), (65, "fp16", 1, [100])])
def test_other_models(tmp_path: Path, hidden: int, dtype: str, levels: int, targets: list[int]) -> None:
    rows = compile_kernels(tmp_path, hidden, dtype, levels, targets)
    assert {row.arch for row in rows if row.kind == "cubin"} == set(targets)
    check_resources(rows)
    check_arguments(tmp_path)
    assert {key: table(tmp_path)[key] for key in ("hidden_size", "precision", "levels")} == {
        "hidden_size": hidden,
        "precision": dtype,
        "levels": levels,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64, "bf16", 4, [75]), r"targets \[75\]: must be among 80, 86"),
        ((64, "fp8", 4), "dtype 'fp8': must be one of fp32, fp16, bf16"),
        ((0, "bf16", 4), "hidden size 0"),
        ((64, "bf16", 0), "0 feature levels"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        compile_kernels(tmp_path / "kernels", *arguments)
    assert not (tmp_path / "kernels").exists()


def test_a_damaged_directory_is_refused(full: Path, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"launch\.json does not exist: export the bundle with --kernels"):
        describe(tmp_path)
    (tmp_path / "launch.json").write_text((full / "launch.json").read_text())
    with pytest.raises(KernelError, match=r"text_scales\.sm_80\.cubin is missing"):
        describe(tmp_path)
    (tmp_path / "launch.json").write_text('{"format_version": 2}')
    with pytest.raises(KernelError, match="has format 2, this version reads 1"):
        describe(tmp_path)


def test_the_command_prints_the_table(full: Path) -> None:
    app = typer.Typer()
    app.command()(kernels_command)
    (full.parent / "ziprerank.json").write_text("{}")
    for directory in (full, full.parent):
        result = CliRunner().invoke(app, [str(directory)], env={"COLUMNS": "120"})
        assert result.exit_code == 0, result.output
        line = next(line for line in result.output.splitlines() if line.startswith("select_kept") and "PTX" in line)
        assert "none" in line
    rows = json.loads(CliRunner().invoke(app, [str(full), "--json"]).output)
    assert [CompiledKernel(**row) for row in rows] == describe(full)
    assert isinstance(CliRunner().invoke(app, [str(full.parent / "nothing")]).exception, KernelError)
