"""Write the networks as ONNX files, and recognise a clip without PyTorch. Usage: export_onnx.py [RUN] [VIDEO].

It needs ONNX Runtime: pip install 'adafocus_rl[onnx]'. docs/export.md has the loop over frames without this package.
"""

import sys
import tempfile
from pathlib import Path

from adafocus_rl.experiments.export.onnx_recognizer import OnnxRecognizer
from adafocus_rl.experiments.export.write import export_onnx
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.shipped import demo_clips

RUN = sys.argv[1] if sys.argv[1:] else "demo:"
VIDEO = sys.argv[2] if sys.argv[2:] else demo_clips()[0]

predictor = Predictor.load(RUN, device="cpu")
folder = Path(tempfile.mkdtemp()) / "exported"
export_onnx(predictor, folder, progress=lambda path, remark: print(path.name, remark))

prediction = predictor.predict(VIDEO)
logits, boxes = OnnxRecognizer(folder).recognise(prediction.clip[None].numpy())  # (1, T, 3, S, S) uint8
print("PyTorch:", prediction.top(1), "ONNX Runtime:", predictor.names[logits[0, -1].argmax()])
assert (boxes[0] == prediction.boxes.numpy()).all()
