"""Recognise a video: the classes, what f_L looked at, and the compute. Usage: predict.py [RUN] [VIDEO]."""

import sys

from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.shipped import demo_clips

RUN = sys.argv[1] if sys.argv[1:] else "demo:"
VIDEO = sys.argv[2] if sys.argv[2:] else demo_clips()[0]

predictor = Predictor.load(RUN)
prediction = predictor.predict(VIDEO)  # predictor.predict_frames(array) takes frames in memory
for place in prediction.top(3):
    print(place)
for frame, box in zip(prediction.frames.tolist(), prediction.stored_boxes.tolist(), strict=True):
    print("frame", frame, "patch (top, left, height, width) in the video's pixels", [round(value, 1) for value in box])
print(f"{prediction.gmacs:.5f} GMACs; f_L on whole frames takes {prediction.full_frame_gmacs:.5f}")

# The same networks with another agent, for comparison.
print("centre:", Predictor.load(RUN, agent="CenterAgent").predict(VIDEO).top(1))
