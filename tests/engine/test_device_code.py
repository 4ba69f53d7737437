"""For which GPUs ONNX Runtime's CUDA provider has code, and what the engine does on others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from device_libraries import provider_of
from fake_gpu import Result, same_windows, start_session
from ziprerank._engine import device_code


@pytest.mark.parametrize(
    ("capability", "runs"),
    [(75, False), (80, True), (86, True), (87, False), (89, True), (90, True), (100, False), (110, True), (121, True)],
)
def test_code_runs_on_its_own_kind_of_gpu(tmp_path: Path, capability: int, runs: bool) -> None:
    """Machine code of 8.0 runs on 8.9, but not on Orin's 8.7, and that of 9.0 not on 10.0; PTX runs on all newer."""
    code = device_code(str(provider_of(tmp_path, (2, 80), (2, 90), (1, 110))))
    assert (code.machine, code.ptx) == ([80, 90], [110])
    assert str(code) == "8.0, 9.0 and PTX of 11.0"
    assert code.runs_on(capability) == runs
    assert (code.lack(capability, 0) == "") == runs


def test_code_for_orin_runs_on_nothing_else(tmp_path: Path) -> None:
    code = device_code(str(provider_of(tmp_path, (2, 87))))
    assert [capability for capability in (80, 86, 87, 89) if code.runs_on(capability)] == [87]


def test_a_library_without_device_code_says_nothing(tmp_path: Path) -> None:
    library = provider_of(tmp_path)
    whole = library.read_bytes()
    assert str(device_code(str(library))) == "none"
    assert device_code(str(library)).runs_on(90)
    for content in (b"not a library", b"", whole[:6], whole[:64]):
        library.write_bytes(content)
        assert str(device_code(str(library))) == "none"
    assert device_code(str(tmp_path / "nothing")).runs_on(90)
    assert device_code(str(tmp_path)).runs_on(90)


def test_a_damaged_library_is_read_without_harm(tmp_path: Path) -> None:
    """Whatever its numbers are, nothing outside of the file is read, and the reading ends."""
    library = provider_of(tmp_path, (2, 80), (1, 110))
    whole = library.read_bytes()
    for at in [*range(0x28, 0x40), *range(whole.index(b"\x50\xed\x55\xba"), len(whole), 7)]:
        library.write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
        device_code(str(library))
    for length in range(0, len(whole), 97):
        library.write_bytes(whole[:length])
        device_code(str(library))


@pytest.fixture
def on(
    build: Callable[[str], Path], cuda_bundle: Path, tmp_path: Path
) -> Callable[[str, str, tuple[tuple[int, int], ...]], Result]:
    """Runs a session on a GPU of a capability, with a CUDA provider that has this code beside ONNX Runtime."""
    fakes = build("dev") / "engine" / "tests"
    for name in ("libfake_onnxruntime.so", "libfake_cuda_driver.so"):
        shutil.copy(fakes / name, tmp_path)

    def start(provider: str, capability: str, code: tuple[tuple[int, int], ...]) -> Result:
        provider_of(tmp_path, *code)
        settings = {"FAKE_CUDA_DEVICES": "2", "FAKE_CUDA_CAPABILITY": capability}
        return start_session(tmp_path, tmp_path / "log", cuda_bundle, provider=provider, **settings)

    return start


AARCH64 = ((2, 89), (2, 90), (2, 120), (2, 121))  # the wheel of onnxruntime-gpu 1.31.1


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_a_provider_without_code_for_the_gpu_is_refused(on: Callable[..., Result], cpu: Result) -> None:
    """When the engine is made, and so in C and C++ too; `auto` is the CPU then."""
    assert on("cuda:1", "100", AARCH64).output["error"] == [
        "ProviderError",
        "provider 'cuda:1' cannot be used: it needs code for compute capability 10.0 (cuda:1) in onnxruntime-gpu, "
        "which has it for 8.9, 9.0, 12.0, 12.1: docs/gpu.md says which wheels have what; provider tensorrt-rtx, or an "
        "ONNX Runtime built for this GPU, would do",
    ]
    auto = on("auto", "100", AARCH64)
    assert auto.output["info"]["provider"] == "cpu"
    same_windows(auto, cpu)
    assert on("auto", "90", AARCH64).output["info"]["provider"] == "cuda"
    assert on("cuda", "100", (*AARCH64, (1, 90))).output["info"]["provider"] == "cuda"  # PTX, which the driver compiles
    assert on("cuda", "100", ()).output["info"]["provider"] == "cuda"  # no code was found: nothing is known
