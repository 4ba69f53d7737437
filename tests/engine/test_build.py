"""The C++ side by itself: unit tests, sanitizers, exported symbols, example hosts, an installed prefix."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import ROOT, Pages, prompt_ids, run, score
from numpy.typing import NDArray
from ziprerank import _engine

Build = Callable[[str], Path]

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")

# A build under sanitizers or with another compiler takes minutes; each test of them runs on the plain build too.
CLANG = pytest.param("clang", marks=pytest.mark.slow)
PRESETS = pytest.mark.parametrize("preset", ["dev", pytest.param("asan", marks=pytest.mark.slow), CLANG])

# ONNX Runtime keeps some memory on purpose until the process ends
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0"}


def write_inputs(folder: Path, pages: Pages, ids: NDArray[np.int64]) -> list[Path]:
    """The token file, then the pages, as the examples read them."""
    tokens = folder / "tokens.txt"
    tokens.write_text(" ".join(map(str, ids)))
    files = [folder / f"page{i}.ppm" for i in range(len(pages))]
    for file, page in zip(files, pages, strict=True):
        file.write_bytes(b"P6\n%d %d\n255\n" % (page.shape[1], page.shape[0]) + page.tobytes())
    return [tokens, *files]


def read_ranking(output: str) -> tuple[list[int], list[float]]:
    rows = [line.split() for line in output.splitlines()]
    return [int(index) for index, _ in rows], [float(value) for _, value in rows]


@PRESETS
def test_unit_tests(build: Build, preset: str) -> None:
    output = run("ctest", "--test-dir", build(preset), "--output-on-failure")
    assert "100% tests passed" in output


@PRESETS
@pytest.mark.parametrize("example", ["rank_cpp", "rank_c"])
def test_examples_agree_with_python(
    build: Build, engine: _engine.Engine, pages: Pages, tmp_path: Path, *, preset: str, example: str
) -> None:
    ids = prompt_ids(engine.info, len(pages))
    program = build(preset) / "engine" / "examples" / example
    inputs = write_inputs(tmp_path, pages, ids)
    output = run(program, engine.info["bundle"], engine.info["runtime_library"], *inputs, **NO_LEAK_CHECK)
    order, values = read_ranking(output)
    as_recommended = _engine.Engine(engine.info["bundle"], engine.info["runtime_library"])
    want = score(as_recommended, pages, ids, engine.info["keep_ratio"]).scores
    assert order == np.argsort(-want, kind="stable").tolist()
    np.testing.assert_allclose(values, want[order], atol=1e-4)


@PRESETS
@pytest.mark.parametrize("program", ["c_handles", "closing"])
def test_what_was_closed(
    build: Build, default_bundle: Path, runtime_library: str, *, preset: str, program: str
) -> None:
    """Use after close, double close, wrong arguments and forks: an error each, and no byte read that is not there."""
    run(build(preset) / "engine" / "tests" / program, default_bundle, runtime_library, **NO_LEAK_CHECK)


@PRESETS
def test_errors_are_caught_by_their_classes(build: Build, *, preset: str) -> None:
    """In a program that shares nothing with the library but its headers."""
    run(build(preset) / "engine" / "tests" / "catching", **NO_LEAK_CHECK)


@PRESETS
def test_what_was_cancelled(build: Build, default_bundle: Path, runtime_library: str, *, preset: str) -> None:
    """Runs under way in other threads end, and nothing else does; without the end the program would not return."""
    programs = build(preset) / "engine" / "tests"
    settings = {"REAL_ONNXRUNTIME": runtime_library, **NO_LEAK_CHECK}
    run(programs / "cancelling", default_bundle, programs / "libfake_onnxruntime.so", **settings)


def test_a_host_program_writes_nothing_into_the_home_folder(
    build: Build, engine: _engine.Engine, pages: Pages, tmp_path: Path
) -> None:
    """ONNX Runtime's telemetry is off in hosts that never import the Python package too."""
    (home := tmp_path / "home").mkdir()
    inputs = write_inputs(tmp_path, pages, prompt_ids(engine.info, len(pages)))
    program = build("dev") / "engine" / "examples" / "rank_c"
    unset = ["env", "-u", "ORT_DISABLE_TELEMETRY", "-u", "XDG_CACHE_HOME"]
    run(*unset, program, engine.info["bundle"], engine.info["runtime_library"], *inputs, HOME=str(home))
    assert list(home.rglob("*")) == []


@PRESETS
@pytest.mark.parametrize("example", ["rank_cpp", "rank_c"])
def test_examples_report_errors(
    build: Build, engine: _engine.Engine, tmp_path: Path, *, preset: str, example: str
) -> None:
    """An error of the engine comes out as its text, not as a crash."""
    program = build(preset) / "engine" / "examples" / example
    inputs = write_inputs(tmp_path, [np.zeros((40, 32, 3), np.uint8)], prompt_ids(engine.info, 1))
    with pytest.raises(pytest.fail.Exception, match="a page of 40 x 32 px: both sides must be multiples of 32"):
        run(program, engine.info["bundle"], engine.info["runtime_library"], *inputs, **NO_LEAK_CHECK)


def test_examples_build_against_an_installed_prefix(
    build: Build, engine: _engine.Engine, pages: Pages, tmp_path: Path
) -> None:
    prefix, folder = tmp_path / "prefix", tmp_path / "build"
    run("cmake", "--install", build("dev"), "--prefix", prefix)
    run("cmake", "-S", ROOT / "engine" / "examples", "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder)
    inputs = write_inputs(tmp_path, pages, prompt_ids(engine.info, len(pages)))
    output = run(folder / "rank_c", engine.info["bundle"], engine.info["runtime_library"], *inputs)
    assert sorted(read_ranking(output)[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("preset", ["dev", CLANG])
def test_exported_symbols(build: Build, preset: str) -> None:
    """The C ABI, ONNX Runtime's entry point, and the public C++ API; nothing of std or of the inside."""
    library = build(preset) / "libziprerank.so"
    names = run("nm", "-D", "--defined-only", library).split("\n")
    plain = {name.split()[-1] for name in names if name}
    header = (ROOT / "engine" / "include" / "ziprerank" / "ziprerank.h").read_text()
    functions = set(re.findall(r"\b(zr_\w+)\(", header))
    assert {name for name in plain if not name.startswith("_Z")} == functions | {"RegisterCustomOps"}
    demangled = run("nm", "-D", "-C", "--defined-only", library).splitlines()
    assert any(name.endswith(" typeinfo for ziprerank::Error") for name in demangled)  # or nobody can catch one
    public = re.compile(
        r" (ziprerank::((Engine|Window|DeviceCode)::(?!Core|State)"
        r"|Parse(Provider|Blank)|ProviderText|UsableCpus|ReadDeviceCode)"
        r"|(vtable|typeinfo|typeinfo name) for ziprerank::Error)"
    )
    assert [name for name in demangled if "ziprerank::" in name and not public.search(name)] == []
    assert [name for name in demangled if re.search(r"\b(std|Ort|nanobind)::", name.split("(")[0])] == []


def test_apples_list_of_exports_says_the_same(build: Build) -> None:
    """exports.txt lets through what exports.map lets through here; Apple's linker drops what is hidden by itself."""
    lines = (ROOT / "engine" / "src" / "api" / "exports.txt").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    names = run("nm", "-D", "--defined-only", build("dev") / "libziprerank.so").splitlines()
    shown = {f"_{name.split()[-1]}" for name in names}
    assert [name for name in sorted(shown) if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in shown)] == []
