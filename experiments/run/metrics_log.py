"""Training scalars in metrics.jsonl, one line per epoch, and in TensorBoard."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import append_line, naming, parse_json, read_bytes, write_bytes


class MetricsLog:
    """Log of scalars, written both as one JSON line per epoch and to TensorBoard, where each stage is a separate run.

    No file or folder is created before the first stage begins.

    Args:
        path: path of metrics.jsonl.
        tensorboard: folder of event files.
    """

    def __init__(self, path: Path, tensorboard: Path) -> None:
        self.path = path
        self.tensorboard = tensorboard
        self._writers: dict[str, SummaryWriter] = {}

    def forget(self, stage: str, *, after: int = 0) -> None:
        """Remove this stage's lines after epoch ``after``, because the stage was interrupted or is trained again.

        Raises:
            UserError: if a line of the file cannot be read.
        """
        if stage in self._writers:
            self._writers.pop(stage).close()
        kept = [
            line for line, entry in _lines(self.path, warn=True) if entry["stage"] != stage or entry["epoch"] <= after
        ]
        text = b"".join(line + b"\n" for line in kept)
        if self.path.exists() and self.path.read_bytes() != text:
            write_bytes(self.path, text)
        if after == 0:
            shutil.rmtree(self.tensorboard / stage, ignore_errors=True)

    def write(self, stage: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Add the scalars of a finished epoch (counted from 1); JSON holds NaN and infinities as null.

        Raises:
            OSError: if a file cannot be written, for example on a full disk.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        append_line(self.path, json.dumps({"stage": stage, "epoch": epoch, **finite}))
        with naming(self.tensorboard / stage):
            writer = self._writer(stage, epoch)
            for name, value in scalars.items():
                writer.add_scalar(name, value, epoch)
            writer.flush()

    def picture(self, stage: str, epoch: int, name: str, pixels: Tensor) -> None:
        """Add a picture (3, H, W) uint8 of a finished epoch to TensorBoard.

        Raises:
            OSError: if a file cannot be written, for example on a full disk.
        """
        with naming(self.tensorboard / stage):
            writer = self._writer(stage, epoch)
            writer.add_image(name, pixels, epoch)
            writer.flush()

    def _writer(self, stage: str, epoch: int) -> SummaryWriter:
        if stage not in self._writers:
            # `purge_step` hides what an interrupted run wrote for this epoch and later ones.
            self._writers[stage] = SummaryWriter(str(self.tensorboard / stage), purge_step=epoch)
        return self._writers[stage]

    def close(self) -> None:
        """Close the event files; the next write opens new ones."""
        while self._writers:
            self._writers.popitem()[1].close()


def read_metrics(path: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """Return the entries of metrics.jsonl, of one stage or of all; none if there is no file.

    An incomplete last line is left out: a process was killed while writing it, or is still writing it.

    Raises:
        UserError: if any other line cannot be read.
    """
    return [entry for _, entry in _lines(path) if stage in (None, entry["stage"])]


def _lines(path: Path, *, warn: bool = False) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each line as bytes, and its entry."""
    if not path.exists():
        return
    *lines, rest = read_bytes(path, "log").split(b"\n")
    whole = len(lines)
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        entry = _entry(line)
        if entry is not None:
            yield line, entry
        elif number <= whole:
            raise UserError(
                f"line {number} of {path} is damaged; restore the file, or delete that line (the epoch is then missing "
                "in curves, and nowhere else), and run the same command again"
            )
        elif warn:
            say(f"warning: left out the last line of {path}, which a process was killed while writing")


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line; None if it cannot be read."""
    try:
        entry = parse_json(line.decode("utf-8"), "line")
    except (UserError, UnicodeDecodeError):
        return None
    known = (
        isinstance(entry, dict)
        and isinstance(entry.get("stage"), str)
        and type(entry.get("epoch")) is int
        and 0 <= entry["epoch"] < 1 << 40
        and all(value is None or type(value) in (int, float) for name, value in entry.items() if name != "stage")
    )
    return entry if known else None


def _without_echo(args: threading.ExceptHookArgs) -> None:
    """Suppress tracebacks of TensorBoard's writer thread: the writer's next call raises the error, and we catch it."""
    if type(args.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
        _before(args)


_before, threading.excepthook = threading.excepthook, _without_echo
