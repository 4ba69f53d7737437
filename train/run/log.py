"""The log of a run: one CSV row per interval, and the same for TensorBoard when asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .state import replace

FIRST = ("step", "loss", "lr", "seconds")


class Log:
    """``log.csv`` in ``directory``. A resumed run goes on below the row of ``step``; later rows are cut off.

    A value that appears later adds a column, empty in the rows above.
    """

    def __init__(self, directory: Path, step: int, *, tensorboard: bool) -> None:
        self.path = directory / "log.csv"
        self.columns = list(FIRST)
        rows: list[dict[str, str]] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.columns = list(reader.fieldnames or FIRST)
                # a killed process may have left half of a last row
                rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= step]
        self._rewrite(rows)
        self.board = _board(directory / "tensorboard", step) if tensorboard else None

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; ``step`` is in it."""
        if new := [name for name in row if name not in self.columns]:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.columns.extend(new)
            self._rewrite(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow({name: _text(value) for name, value in row.items()})
        if self.board is not None:
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        replace(self.path, text.getvalue())


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _board(directory: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory), purge_step=step + 1)


class Means:
    """Running means of named values."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}
        self.last = 0.0

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + float(value), count + 1)
        self.last = values.get("loss", self.last)

    def take(self, name: str) -> float:
        total, count = self.sums.pop(name)
        return total / count

    def take_all(self, *, keep_loss: bool = False) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.sums.items() if keep_loss or name != "loss"}
        self.sums.clear()
        return means
