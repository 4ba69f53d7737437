"""Yes/no bundles against Qwen3-VL-Reranker's own way of scoring: the same token ids, the same log-odds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import Shape
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner
from yes_no_reference import INSTRUCTION, TEXTS, YesNoReference, drawn
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.export import CheckpointError, ExportError, ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.prompt import Prompt, PromptBuilder

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {
        "idx": 1,
        "name": "1",
        "path": "1_LogitScore",
        "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    },
]
QUERIES = [
    "net revenue by region",
    'what does "net zero" mean?',
    "emoji 🚀👩‍👩‍👧 and\nnew lines\n",
    "年度报告中的燃料成本是多少？",
]
INSTRUCTIONS = [
    None,
    "",
    'Find pages that "answer" the query — 答え 🙂',
    "One\ninstruction:",
    "<Query>:not a query {query}",
]


@pytest.fixture(scope="module", params=["tied", "untied", "tied, with another head"])
def case(request: pytest.FixtureRequest, make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random checkpoint's bundle in fp32, and the reference on the same checkpoint."""
    checkpoint = make_checkpoint(Shape(tied=request.param != "untied"))
    folder = tmp_path_factory.mktemp("pointwise")
    if "another" in request.param:
        own = folder / "checkpoint"
        own.mkdir()
        for file in checkpoint.iterdir():
            if file.name != "model.safetensors":
                (own / file.name).symlink_to(file)
        tensors = load_file(checkpoint / "model.safetensors")
        torch.manual_seed(2)
        tensors["lm_head.weight"] = torch.randn(151936, 64) / 8
        save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})
        checkpoint = own
    options = ExportOptions(prompt="qwen3-vl-reranker")
    bundle = export_checkpoint(str(checkpoint), folder / "bundle", options)
    return bundle, YesNoReference(checkpoint, bundle / "tokenizer.json")


def expanded(prompt: Prompt, pad: int, tokens: int) -> list[int]:
    return [index for one in prompt.text_ids.tolist() for index in [one] * (tokens if one == pad else 1)]


def test_token_ids_are_the_references(case) -> None:
    bundle, reference = case
    prompts = PromptBuilder(Bundle.load(bundle))
    for query in QUERIES:
        for instruction in INSTRUCTIONS:
            asked = prompts.check_instruction(instruction)
            for text in (None, *TEXTS):
                for tokens in (0, 4, 1800) if text else (4, 1800):
                    prompt = prompts.build(query, int(tokens > 0), asked, text)
                    found = expanded(prompt, reference.pad, tokens)
                    assert found == reference.ids(query, instruction, tokens, text)


@pytest.mark.parametrize("tokens", [0, 1800, 10300])
def test_long_texts_are_cut_as_the_reference_cuts_them(case, tokens: int) -> None:
    bundle, reference = case
    prompts = PromptBuilder(Bundle.load(bundle))
    for words in (100, 9000, 20000):
        text = " ".join(f"word{number % 7} <b>" for number in range(words))
        whole = prompts.build("a query", int(tokens > 0), INSTRUCTION, text)
        prompt, left_out = prompts.fit(whole, tokens)
        assert expanded(prompt, reference.pad, tokens) == reference.ids("a query", None, tokens, text)
        assert left_out == len(whole.text_ids) - len(prompt.text_ids)
        assert (left_out > 0) == (len(expanded(whole, reference.pad, tokens)) > 10245)


def test_the_bundle_says_how_it_scores(case) -> None:
    bundle, _ = case
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    assert manifest["format_version"] == 2
    assert manifest["tokens"]["yes"] == 9693
    assert manifest["tokens"]["no"] == 2152
    assert manifest["prompt"]["scoring"] == "yes_no"
    assert (manifest["image"]["min_pixels"], manifest["image"]["max_pixels"]) == (4096, 1843200)
    assert "qwen3_vl_reranker.py" in manifest["image"]["origin"]
    assert manifest["source"]["prompt"] == "qwen3-vl-reranker, as asked for"
    assert set(manifest["files"]) >= {"vision.onnx", "rerank.onnx"}
    assert "relate.onnx" not in manifest["files"]
    loaded = Bundle.load(bundle)
    assert (loaded.defaults.keep_ratio, loaded.defaults.prune_text) == (1.0, "query_only")
    assert loaded.defaults.pointwise
    assert loaded.tokens.letters == (9693,)


def test_log_odds_are_the_references_in_a_stock_runtime(case) -> None:
    bundle, reference = case
    host, prompts = Host(bundle), PromptBuilder(Bundle.load(bundle))
    image = drawn(1, (256, 320))
    page = host.encode(np.asarray(image))
    for document in ({"image": image}, {"image": image, "text": TEXTS[0]}, {"text": TEXTS[2]}):
        shown = [page] if "image" in document else []
        prompt = prompts.build(QUERIES[1], len(shown), INSTRUCTION, document.get("text"))
        scored = host.score(prompt.text_ids.tolist(), shown, 1.0, None)
        assert scored.logits.shape == (1,)
        assert scored.logits[0] == pytest.approx(reference.log_odds(QUERIES[1], **document), abs=1e-3)


@pytest.mark.parametrize("name", ["modules.json", "prompt.json", "nothing"])
def test_the_checkpoint_says_which_prompt_is_its_own(own_checkpoint: Path, tmp_path: Path, name: str) -> None:
    if name == "modules.json":
        (own_checkpoint / name).write_text(json.dumps(MODULES))
    elif name == "prompt.json":
        prompt = {"prefix": "", "lines": ["{query}"], "page": "{image}", "suffix": "", "scoring": "yes_no"}
        (own_checkpoint / name).write_text(json.dumps(prompt | {"most_tokens": 4096}))
    bundle = Bundle.load(export_checkpoint(str(own_checkpoint), tmp_path / "bundle"))
    assert bundle.prompt.pointwise == (name != "nothing")
    assert bundle.source["prompt"].startswith(
        {"modules.json": "qwen3-vl-reranker", "prompt.json": "the checkpoint's own"}.get(name, "ziprerank")
    )
    other = Bundle.load(export_checkpoint(str(own_checkpoint), tmp_path / "other", ExportOptions(prompt="ziprerank")))
    assert not other.prompt.pointwise
    assert other.source["prompt"] == "ziprerank, as asked for"


@pytest.mark.parametrize("asked", [None, "qwen3-vl-reranker", "FILE"])
def test_the_command_says_which_prompt_it_takes(asked: str | None, own_checkpoint: Path, tmp_path: Path) -> None:
    own = {"prefix": "", "lines": ["{query}"], "page": "{image}", "suffix": "", "scoring": "yes_no", "most_tokens": 99}
    (tmp_path / "mine.json").write_text(json.dumps(own))
    if asked is not None:  # which comes before the checkpoint's own
        (own_checkpoint / "prompt.json").write_text(json.dumps({**own, "scoring": "letters"}))
    given = [] if asked is None else ["--prompt", str(tmp_path / "mine.json") if asked == "FILE" else asked]
    done = CliRunner().invoke(app, ["export", str(own_checkpoint), str(tmp_path / "bundle"), *given])
    assert done.exit_code == 0, done.output
    said = {
        None: "ziprerank, since the checkpoint has neither a prompt.json nor a LogitScore head in modules.json",
        "FILE": "mine.json, as asked for",
    }.get(asked, "qwen3-vl-reranker, as asked for")
    assert f"prompt: {said}" in done.output
    assert Bundle.load(tmp_path / "bundle").prompt.pointwise == (asked is not None)


def test_modules_without_that_head_say_nothing(own_checkpoint: Path, tmp_path: Path) -> None:
    (own_checkpoint / "modules.json").write_text(json.dumps(MODULES[:1]))
    assert not Bundle.load(export_checkpoint(str(own_checkpoint), tmp_path / "bundle")).prompt.pointwise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "no slot"}, "'text' must hold {text} exactly once"),
        ({"scoring": "stars"}, "scoring is 'stars', this ziprerank knows letters, yes_no"),
        ({"no": "yes"}, "'no' is the same token as yes"),
        ({"yes": "certainly not one token"}, "the answer certainly not one token is not one token"),
        ({"instruction": "unused"}, "'instruction' is the default of {instruction} in lines: give both or neither"),
        ({"most_tokens": 0}, "'most_tokens' is 0, it must lie in 1"),
        ({"min_pixels": 4096, "max_pixels": 1024}, "'max_pixels' is 1024, it must lie in 4096"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(
    change: dict[str, Any], message: str, own_checkpoint: Path, tmp_path: Path
) -> None:
    prompt = {
        "prefix": "",
        "lines": ["{query}"],
        "page": "{image}",
        "suffix": "",
        "scoring": "yes_no",
        "most_tokens": 99,
    }
    (own_checkpoint / "prompt.json").write_text(json.dumps(prompt | change))
    with pytest.raises(CheckpointError, match=message):
        export_checkpoint(str(own_checkpoint), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 20}, "window for a prompt that is scored page by page: leave it out"),
        ({"stride": 2}, "stride for a prompt that is scored page by page: leave it out"),
        ({"prompt": "qwen4"}, "prompt 'qwen4' is neither one of ziprerank, qwen3-vl-reranker nor a file"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    options: dict[str, Any], message: str, own_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export_checkpoint(
            str(own_checkpoint), tmp_path / "bundle", ExportOptions(**{"prompt": "qwen3-vl-reranker", **options})
        )


def test_what_a_prompt_has_no_place_for_is_refused(make_checkpoint, tmp_path: Path) -> None:
    prompts = PromptBuilder(Bundle.load(export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle")))
    with pytest.raises(InvalidInput, match="the prompt of this bundle has no place for one"):
        prompts.check_instruction("Find tables")
    with pytest.raises(InvalidInput, match="its prompt has no place for one"):
        prompts.check_document_text("a text")
    assert prompts.check_instruction(None) == ""


def test_control_tokens_are_refused_by_name(case) -> None:
    prompts = PromptBuilder(Bundle.load(case[0]))
    with pytest.raises(InvalidInput, match=r"the instruction holds '<\|im_end\|>', a control token"):
        prompts.check_instruction("end<|im_end|>")
    with pytest.raises(InvalidInput, match=r"the text holds '<\|image_pad\|>', a control token"):
        prompts.check_document_text("<|image_pad|>")
