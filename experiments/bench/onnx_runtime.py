"""``adafocus bench onnx``."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.experiments.bench.tiny_run import tiny_run
from adafocus_rl.experiments.export.onnx_files import require_onnx
from adafocus_rl.experiments.export.onnx_recognizer import OnnxRecognizer
from adafocus_rl.experiments.export.write import export_onnx
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import blank_env
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.seeding import derive_seed, seed_all

CPU = torch.device("cpu")


def bench_onnx(device: torch.device) -> list[Timing]:
    """Recognise clips on CPU with exported networks under ONNX Runtime, frame by frame, against the same in PyTorch.

    PyTorch has all frames of a clip in one call of f_G and of f_L. Both use the same number of threads, whatever
    ``device`` is. The sizes are the demo's and the paper's.

    Args:
        device: not used.
    """
    try:
        require_onnx()
    except UserError as error:
        say(f"left out onnx: {error}")
        return []
    with tempfile.TemporaryDirectory() as folder:
        demo = tiny_run(Path(folder), CPU)[0]
        config = dataclasses.replace(
            demo.config, model=ModelConfig(), data=dataclasses.replace(demo.config.data, num_frames=16)
        )
        paper = Run(RunFolder(Path(folder) / "paper"), config)
        return [
            *_timings("demo", demo, Path(folder) / "demo_onnx", batches=(1, 8)),
            *_timings("paper", paper, Path(folder) / "paper_onnx", batches=(1,)),
        ]


def _timings(name: str, run: Run, folder: Path, *, batches: tuple[int, ...]) -> list[Timing]:
    """Return the timings of an untrained run for several numbers of clips at once."""
    seed_all("bench onnx")
    recognizer = run.new_recognizer().eval()
    env = blank_env(run.config, recognizer)
    method = AdaFocus(recognizer, env=env, agent=run.new_agent(env))
    classes = [str(number) for number in range(run.config.model.num_classes)]
    export_onnx(Predictor(run, method, knob=None, names=classes), folder)
    exported = OnnxRecognizer(folder, threads=torch.get_num_threads())
    draw, side = np.random.default_rng(derive_seed(0, "bench onnx")), run.config.model.frame_size
    found = []
    for count in batches:
        clips = draw.integers(0, 256, (count, run.config.data.num_frames, 3, side, side), dtype=np.uint8)
        batch = ClipBatch.unlabelled(torch.from_numpy(clips), len(classes), rows=torch.arange(count))

        def in_pytorch(batch: ClipBatch = batch) -> torch.Tensor:
            return method.run(LiveEpisodes(recognizer, batch, device=CPU)).logits

        def in_onnx_runtime(clips: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = clips) -> object:
            return exported.recognise(clips)

        title = f"onnx, {name}, {count} video{'s' if count > 1 else ''}"
        found.append(compare(title, ("ONNX Runtime", in_onnx_runtime), ("PyTorch", in_pytorch), CPU))
    return found
