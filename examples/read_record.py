"""Read what a run's methods did in every frame of the validation videos, and count it."""

import sys

from adafocus_rl.experiments.run.run import Run
from adafocus_rl.record import EpisodeRecord

RUN = sys.argv[1] if sys.argv[1:] else "demo:"

record = EpisodeRecord.load(Run.open(RUN).folder.path / "episodes.safetensors")
for trace in record.last_traces():
    videos, frames = trace.kept.shape
    gmacs = trace.macs.sum(1).float().mean() / 1e9
    sure = trace.true_confidence[:, -1].mean()
    print(f"{trace.title:40} {videos} videos of {frames} frames, {gmacs:.5f} GMACs, p(true class) {sure:.2f}")

own = record.last_traces()[0]
moved = (own.boxes[:, 1:, :2] - own.boxes[:, :-1, :2]).float().norm(dim=-1)
print(f"{own.name} moves its patch by {moved.mean():.1f} pixels per frame")
