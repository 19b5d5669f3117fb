"""Recognise frame by frame, with constant memory, and stop once it is certain. Usage: stream.py [RUN] [VIDEO]."""

import sys
from pathlib import Path

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.shipped import demo_clips

RUN = sys.argv[1] if sys.argv[1:] else "demo:"
VIDEO = sys.argv[2] if sys.argv[2:] else demo_clips()[0]

online = Predictor.load(RUN).stream(exit_at=0.95)
for number, frame in enumerate(decode_frames(Path(VIDEO), range(8))):  # (H, W, 3) uint8 RGB, from anywhere
    found = online.step(frame)
    print(number, found.label, f"{found.confidence:.2f}", found.box)
    if found.stopped:
        print("certain enough")
        break
