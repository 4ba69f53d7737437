from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_task
from safetensors.torch import load_file
from torch import Tensor
from toy_task import SETTINGS, Toy, launch_two
from ziprerank.train.errors import TrainError
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.run.loop import run


def train(directory: Path, toy: Toy | None = None, **changes: object) -> dict[str, Tensor]:
    run(toy or Toy(), Optimisation(**{**SETTINGS, **changes}), directory, seed=3)
    return load_file(directory / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return train(tmp_path_factory.mktemp("whole"))


def assert_same(result: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert result.keys() == expected.keys()
    for name, value in result.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def test_plain_loop_gives_the_same_parameters(tmp_path: Path) -> None:
    """Against a loop written out: AdamW, accumulation, clipping, warmup and cosine."""
    result = train(tmp_path, Toy(dropout=0.0), weight_decay=0.1, final_lr=0.1)
    toy = Toy(dropout=0.0)
    matrices = [value for value in toy.module.parameters() if value.dim() == 2]
    others = [value for value in toy.module.parameters() if value.dim() == 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0}])
    for step in range(24):
        lr = 0.02 * (step + 1) / 3
        if step >= 3:
            lr = 0.02 * (0.1 + 0.9 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (step - 3) / 21)).item()))
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.zero_grad()
        for micro in (2 * step, 2 * step + 1):
            (toy.loss(toy.batch(micro), 0)[0] / 2).backward()
        torch.nn.utils.clip_grad_norm_(toy.module.parameters(), 1.0)
        optimiser.step()
    for name, value in toy.module.state_dict().items():
        torch.testing.assert_close(result[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_killed_run_goes_on_to_the_same_end(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    process = subprocess.Popen([sys.executable, toy_task.__file__, str(tmp_path), "18", "0.2", "2"])
    wait_for(tmp_path / "checkpoints" / "step-00000008", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "finished.json").exists()
    assert_same(train(tmp_path), whole)
    assert [row["step"] for row in rows(tmp_path)] == ["5", "10", "15", "20", "24"]


def test_sigterm_saves_and_exits(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    with pytest.raises(SystemExit) as exit_:
        train(tmp_path, Stopping(at=18))
    assert exit_.value.code == 128 + signal.SIGTERM
    toy = Toy()
    result = train(tmp_path, toy)
    assert toy.asked[0] == 20, "it did not go on after the step in which the signal came"
    assert_same(result, whole)


@pytest.mark.parametrize("damage", ["cut", "flip", "unsealed"])
def test_torn_checkpoint_is_passed_over(
    damage: str, tmp_path: Path, whole: dict[str, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path, Stopping(at=18))
    newest = max((tmp_path / "checkpoints").iterdir())
    file = newest / "state.pt"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        (newest / "complete.json").unlink()
    toy = Toy()
    result = train(tmp_path, toy)
    assert toy.asked[0] == 2 * 8, "it did not go on from the checkpoint before"
    assert newest.name in capfd.readouterr().err.replace("\n", "")
    assert_same(result, whole)


class Stopping(Toy):
    """Asks its own process to stop at a micro-batch, as a scheduler would."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def loss(self, batch: dict[str, Tensor], progress: float) -> tuple[Tensor, dict[str, float]]:
        if len(self.progress) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(batch, progress)


def test_two_processes_are_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    processes = launch_two([toy_task.__file__, str(tmp_path / "two"), "-1", "0", "1"])
    assert [process.wait() for process in processes] == [0, 0]
    two = load_file(tmp_path / "two" / "model" / "model.safetensors")
    one = train(tmp_path / "one", Toy(dropout=0.0))
    assert json.loads((tmp_path / "two" / "finished.json").read_text())["settings"]["accumulate"] == 2
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    logs = [[(row["step"], row["loss"]) for row in rows(tmp_path / name)] for name in ("one", "two")]
    for (step, loss), (other_step, other_loss) in zip(*logs, strict=True):
        assert step == other_step
        assert float(loss) == pytest.approx(float(other_loss), rel=1e-3)


def test_finished_stage_is_skipped(tmp_path: Path) -> None:
    train(tmp_path)
    toy = Toy()
    train(tmp_path, toy, log_every=1, save_every=0)
    assert toy.asked == []


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("field", "value"), [("lr", 0.5), ("accumulate", 3), ("optimiser", "muon")])
def test_other_settings_are_refused(field: str, value: object, finished: bool, tmp_path: Path) -> None:
    if finished:
        train(tmp_path)
    else:
        with pytest.raises(SystemExit):
            train(tmp_path, Stopping(at=9))
    with pytest.raises(TrainError, match=rf"{field} is .*{value}.* was made with"):
        train(tmp_path, **{field: value})


def test_settings_of_the_task_are_compared(tmp_path: Path) -> None:
    train(tmp_path)
    toy = Toy()
    toy.settings = {"shape": [8, 17]}
    with pytest.raises(TrainError, match=r"shape is \[8, 17\], .* was made with \[8, 16\]"):
        train(tmp_path, toy)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000020", "step-00000024"]


def test_batches_in_order_and_evaluation(tmp_path: Path) -> None:
    toy = Toy()
    train(tmp_path, toy, evaluate_every=10, tensorboard=True)
    assert toy.asked == list(range(48))
    assert toy.progress == [step / 24 for step in range(24) for _ in range(2)]
    log = rows(tmp_path)
    assert [row["evaluated_at"] for row in log] == ["", "10", "", "20", "24"]
    targets = [float(Toy().batch(micro)["targets"].mean()) for micro in range(20, 30)]
    assert float(log[2]["targets"]) == pytest.approx(sum(targets) / 10)
    assert list((tmp_path / "tensorboard").iterdir())


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Diverging(Toy):
        def loss(self, batch: dict[str, Tensor], progress: float) -> tuple[Tensor, dict[str, float]]:
            loss, values = super().loss(batch, progress)
            return loss * (float("nan") if progress > 0.5 else 1.0), values

    with pytest.raises(TrainError, match="loss is nan at step 13"):
        train(tmp_path, Diverging())


def test_error_of_a_batch_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Toy):
        def batch(self, step: int) -> dict[str, Tensor]:
            if step == 5:
                raise TrainError("page 7 cannot be read")
            return super().batch(step)

    with pytest.raises(TrainError, match="page 7"):
        train(tmp_path, Broken())
