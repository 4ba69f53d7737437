"""``ziprerank eval``: how well pages are ranked, on the field's data sets (extra ``eval``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ziprerank.cli.extras import needs_extra
from ziprerank.cli.options import progress_bar, with_engine_options
from ziprerank.cli.ranking_options import RankingOptions, given_flags, with_ranking_options
from ziprerank.errors import InvalidInput
from ziprerank.first_stage.stage import CANDIDATES, FIRST_STAGE, check_first_stage
from ziprerank.first_stage.stage import FirstStage as EngineStage
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
@with_ranking_options(without=("keep_ratio", "first_stage", "candidates"))  # which it has in ways of its own
def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of queries, relevant pages and pages.")],
    out: Annotated[Path, typer.Argument(help="Folder for the report; a run that was cut off goes on there.")],
    *,
    form: Annotated[
        Literal["mmdocir", "vidore", "trec", "pdf"] | None,
        typer.Option("--format", help="Form of the data. Default: told by its files."),
    ] = None,
    first_stage: Annotated[
        str, typer.Option(help="Candidates: a TREC run file, bm25, or none for the data's own.")
    ] = "none",
    depth: Annotated[
        int | None,
        typer.Option(help="Most candidates of a query. Default: 20 of a run or BM25, else all."),
    ] = None,
    keep_ratio: Annotated[
        list[float] | None,
        typer.Option(help="Share of visual tokens that the decoder reads; may be repeated. Default: the bundle's."),
    ] = None,
    engine_first_stage: Annotated[
        list[str] | None,
        typer.Option(help=f"{FIRST_STAGE} Of the candidates; may be repeated. Default: none."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(help=f"Candidates that the engine's first stage leaves for the model. Default: {CANDIDATES}."),
    ] = None,
    options: RankingOptions,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="BM25 on the data's 'text', or on what RapidOCR reads: 'ocr' (extra ocr); may be repeated."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="URL of a server that speaks /v1/rerank, as one more system; may be repeated."),
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="Name of the model in requests to endpoints.")] = None,
    endpoint_documents: Annotated[
        Literal["content", "image", "string"],
        typer.Option(help="How endpoints get a page: content parts (vLLM), an image object (Jina), or a data: URL."),
    ] = "content",
    endpoint_key: Annotated[
        str | None,
        typer.Option(help="Bearer token for endpoints.", envvar="ZIPRERANK_ENDPOINT_KEY"),
    ] = None,
    endpoint_option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE to send to endpoints, such as candidates=20; may be repeated."),
    ] = None,
    no_engine: Annotated[bool, typer.Option("--no-engine", help="Rank only with baselines and endpoints.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only so many queries, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Of that draw, and of the bootstrap.")] = 0,
    engine: EngineOptions,
) -> None:
    """Rank the candidates of every query of DATA and write measures, run files and a report into the folder OUT.

    Run the same command again after it was cut off, even by kill -9: queries that are in OUT are not ranked again.
    """
    with needs_extra("eval"):
        from ziprerank.evaluation.candidates import NONE, FirstStage, sampled, tasks
        from ziprerank.evaluation.endpoint import Endpoint, read_options
        from ziprerank.evaluation.formats import read_data
        from ziprerank.evaluation.job import evaluate as run
        from ziprerank.evaluation.outputs import write_outputs
        from ziprerank.evaluation.report import Shape
        from ziprerank.evaluation.systems import Engine, System, TextBm25
    from ziprerank.comparison import machine
    from ziprerank.reranker import Reranker

    if no_engine and not (baseline or endpoint):
        raise InvalidInput("--no-engine leaves nothing to rank with: give --baseline or --endpoint")
    stages = _stages(engine_first_stage, candidates)
    if no_engine:
        own = {"--keep-ratio": keep_ratio, "--engine-first-stage": engine_first_stage, "--candidates": candidates}
        _refuse_beside_no_engine([name for name, value in own.items() if value is not None] + given_flags(options))
    if endpoint_option and not endpoint:
        raise InvalidInput("--endpoint-option is for endpoints: give --endpoint too, or leave it out")
    sent = read_options(endpoint_option or ())
    for name in baseline or ():
        if name not in ("text", "ocr"):
            raise InvalidInput(f"baseline {name!r}: must be text or ocr")
    on_bad_page = options["on_bad_page"]
    held = read_data(data, form)
    stage = FirstStage(first_stage, depth)
    todo = tasks(held, sampled(held.queries, limit, seed), stage)
    rules = engine.load_bundle().image
    systems: list[System] = []
    if "text" in (baseline or ()):
        systems.append(TextBm25())
    if "ocr" in (baseline or ()):
        from ziprerank.evaluation.ocr import OcrBm25

        systems.append(OcrBm25(out / "ocr.jsonl", rules, limits=engine.page_limits, on_bad_page=on_bad_page))
    if not no_engine:
        reranker = Reranker.from_options(engine)
        ratios: Sequence[float | None] = keep_ratio or [None]
        for each, left in stages.items():
            # with page features of its own, so that its rows say what it takes alone
            one = reranker if len(stages) == 1 else reranker.for_owner(f"first stage {each}")
            systems.append(Engine(one, ratios, first_stage=each, candidates=left, **options))
    systems += [
        Endpoint(
            url,
            rules,
            model=endpoint_model,
            form=endpoint_documents,
            key=endpoint_key,
            limits=engine.page_limits,
            on_bad_page=on_bad_page,
            options=sent,
        )
        for url in endpoint or ()
    ]
    settings = {
        "data": str(data.absolute()),
        "format": held.format,
        "first_stage": first_stage if first_stage in (NONE, "bm25") else str(Path(first_stage).absolute()),
        "depth": stage.most(held),
        "limit": limit,
        "seed": seed,
        "on_bad_page": on_bad_page,
    }
    with progress_bar("ranking") as report:
        run(held, todo, systems, out, settings, report)
    name = stage.name(held)
    about = {
        "data": data.absolute().name,
        "format": held.format,
        "first_stage": name,
        "settings": {**settings, "systems": {" ".join(one.names): dict(one.settings()) for one in systems}},
        "machine": machine.describe(),
    }
    written = write_outputs(out, about, Shape(name, held.domains, seed))
    counts = written["queries"]
    failed = len(counts["not ranked"])
    told = f"{out / 'report.md'}: {counts['all']:,} queries, {failed:,} of them could not be ranked"
    for system, faults in counts["not ranked by"].items():
        told += f"; {len(faults):,} could not be ranked by {system}"
    Console(soft_wrap=True, highlight=False).print(told, markup=False)


def _stages(given: Sequence[str] | None, candidates: int | None) -> dict[EngineStage, int | None]:
    """Returns the engine's first stages, each with the candidates that it leaves. Raises InvalidInput."""
    stages = [check_first_stage(stage) for stage in given or ("none",)]
    if candidates is not None and set(stages) == {"none"}:
        raise InvalidInput(
            f"candidates {candidates}: the model reads every candidate of the data where the engine has no first "
            "stage: give --engine-first-stage too, or --depth in place of --candidates"
        )
    return {stage: None if stage == "none" else candidates for stage in stages}


def _refuse_beside_no_engine(flags: Sequence[str]) -> None:
    """Raises InvalidInput for flags that nothing would heed; ``--on-bad-page`` is not the engine's alone."""
    unheeded = [one for one in flags if one != "--on-bad-page"]
    if unheeded:
        raise InvalidInput(
            f"{', '.join(unheeded)} beside --no-engine: only the engine heeds that: leave one of them out, or send it "
            "to endpoints with --endpoint-option NAME=VALUE"
        )
