"""What is installed, what the engine runs on, and what a bundle holds."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import ziprerank
from ziprerank.bundle import Bundle
from ziprerank.errors import MissingDependency, ZipRerankError, quoted
from ziprerank.inputs.drawn_scripts import scripts_with_fonts
from ziprerank.inputs.fonts import VARIABLE
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.pool import pool
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.runtime.engine import EngineOptions, load_engine, show_size
from ziprerank.runtime.memory import peak_bytes
from ziprerank.runtime.onnxruntime import Runtime, find_runtime
from ziprerank.runtime.providers import PROVIDERS, lacking
from ziprerank.serve.font_files import scripts_drawn

PACKAGES = ("numpy", "pillow", "pypdfium2", "tokenizers", "typer", "rich")

_T = TypeVar("_T")

Rows = list[tuple[str, str]]


@dataclass
class Report:
    """``sections`` are (title, rows of name and value); ``problems`` say why ranking cannot work."""

    sections: list[tuple[str, Rows]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def examine(options: EngineOptions) -> Report:
    """Loads everything that ranking needs and reports on it; what fails becomes a problem of the report."""
    report = Report()
    report.sections.append(("System", _system()))
    runtime = _attempt(report, find_runtime)
    report.sections.append(("ONNX Runtime", _runtime(runtime)))
    bundle = _attempt(report, options.load_bundle)
    if bundle is not None:
        report.sections.append(("Bundle", _bundle(bundle)))
    report.sections.append(("Providers", _ready(runtime, bundle)))
    report.sections.append(("Page workers", _page_workers(report, options.page_limits)))
    if bundle is not None and runtime is not None:
        engine = _attempt(report, lambda: load_engine(bundle, options))
        if engine is not None:
            report.sections.append(("Engine", _flat(engine.info)))
            report.sections.append(("Page pool", _flat(engine.pool)))
    fonts = _attempt(report, lambda: _fonts(options.page_limits))
    report.sections.append(("Fonts for PDFs that do not embed theirs", fonts or []))
    report.sections.append(("Fonts for texts that the service draws", _attempt(report, _text_fonts) or []))
    report.sections.append(("Memory", _memory()))
    return report


def _attempt(report: Report, step: Callable[[], _T]) -> _T | None:
    try:
        return step()
    except ZipRerankError as error:
        report.problems.append(str(error))
        return None


def _system() -> Rows:
    rows = [
        ("ziprerank", f"{ziprerank.__version__} in {Path(ziprerank.__file__).parent}"),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", f"{platform.platform()}, {usable_cpus()} of {os.cpu_count()} CPUs usable"),
    ]
    for package in PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows


def _runtime(runtime: Runtime | None) -> Rows:
    if runtime is None:
        return [("library", "none usable")]
    return [
        ("version", runtime.version),
        ("package", ", ".join(runtime.distributions) or "unknown"),
        ("library", str(runtime.library)),
        ("providers", ", ".join(_providers())),
    ]


def _page_workers(report: Report, limits: PageLimits) -> Rows:
    if limits.processes == 0:
        return [("processes", "none: files are read in this process, without limits of time and memory")]
    problem = pool().check(limits)
    if problem is not None:
        report.problems.append(problem)
    return [
        ("processes", f"at most {limits.processes}" + ("" if problem is None else ", and none starts")),
        ("for a page", f"{limits.timeout:g} s and {show_size(limits.memory)}B at most"),
    ]


def _providers() -> list[str]:
    """What the installed build offers; the only place that imports onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(f"onnxruntime cannot be imported: {error}") from error
    return list(onnxruntime.get_available_providers())


def _ready(runtime: Runtime | None, bundle: Bundle | None) -> Rows:
    files = [] if bundle is None else list(bundle.files)
    missing = {provider: lacking(provider, runtime, files) for provider in PROVIDERS}
    return [(provider, "lacks " + "; ".join(parts) if parts else "ready") for provider, parts in missing.items()]


def _bundle(bundle: Bundle) -> Rows:
    defaults, image = bundle.defaults, bundle.image
    size = sum(file.size for file in bundle.files.values())
    return [
        ("path", str(bundle.path)),
        ("id", bundle.bundle_id),
        ("made from", f"{bundle.source.get('name')} ({bundle.source.get('architecture')}) by {bundle.created_by}"),
        ("target", f"{bundle.target}, {bundle.precision}"),
        ("parameters", f"{bundle.model['parameters']:,}" if "parameters" in bundle.model else "not stated"),
        (
            "pages",
            f"longest side {image.longest_side} px, {image.min_pixels:,} to {image.max_pixels:,} px"
            + (f", PDF pages at {image.dpi:g} dpi" if image.dpi else ""),
        ),
        (
            "defaults",
            f"keep ratio {defaults.keep_ratio:g}, "
            + ("" if defaults.pointwise else f"windows of {defaults.window}, stride {defaults.stride}, ")
            + f"blank tokens: {defaults.blank}",
        ),
        (
            "scores",
            "log-odds of yes, each page by itself" if defaults.pointwise else "logits of letters, a window at a time",
        ),
        (
            "instruction",
            "the prompt has no place for one"
            if bundle.prompt.instruction is None
            else f"by default {quoted(bundle.prompt.instruction)}",
        ),
        ("pruned by", defaults.prune_text.replace("_", " ")),
        ("parity", _parity(bundle.parity)),
        ("files", f"{len(bundle.files)} files, {size / 1e6:.1f} MB, sizes and SHA-256 as in the manifest"),
        *((f"  {name}", f"{file.size / 1e6:.2f} MB") for name, file in bundle.files.items()),
    ]


def _parity(parity: Mapping[str, Any] | None) -> str:
    if not parity:
        return "not verified (ziprerank verify writes a certificate)"
    return ", ".join(f"{name} {value}" for name, value in parity.items() if isinstance(value, (str, int, float)))


def _fonts(limits: PageLimits) -> Rows:
    """Which scripts PDFium draws without a font in the PDF; more folders of fonts are in ``ZIPRERANK_FONTS``."""
    rows = _scripts(scripts_with_fonts(limits), "come out blank")
    return [*rows, (VARIABLE, os.environ.get(VARIABLE) or "not set")]


def _text_fonts() -> Rows:
    return _scripts(scripts_drawn(), "come out as boxes")


def _scripts(found: Mapping[str, bool], otherwise: str) -> Rows:
    return [
        (title, "; ".join(names))
        for title, shown in (("drawn", True), (otherwise, False))
        if (names := [script for script, drawn in found.items() if drawn == shown])
    ]


def _memory() -> Rows:
    rows = []
    page = _sysconf("SC_PAGE_SIZE")
    for name, key in (("installed", "SC_PHYS_PAGES"), ("free", "SC_AVPHYS_PAGES")):
        pages = _sysconf(key)
        if page and pages:
            rows.append((name, f"{page * pages / 2**30:.1f} GiB"))
    rows.append(("this process, peak", f"{peak_bytes() / 2**20:.0f} MiB"))
    return rows


def _sysconf(name: str) -> int:
    if not hasattr(os, "sysconf") or name not in os.sysconf_names:
        return 0
    return max(0, os.sysconf(name))


def _flat(table: Mapping[str, Any]) -> Rows:
    return [
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
        for name, value in table.items()
        if value != ""
    ]
