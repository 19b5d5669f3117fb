"""The programs of examples/ run on the tiny run, and their index names them all."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from adafocus_rl.envs import REWARDS

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"export_onnx": "onnxruntime", "stable_baselines3": "stable_baselines3"}
PRINTS = {
    "counterfactuals": r"torch\.Size\(\[16, 4, 9\]\)\n.*regret of the random agent 0\.\d+",
    "custom_agent": r"positions \[0, 3, 6, 0\]\nboxes .*\[\[0, 0, 16, 16\], \[8, 0, 16, 16\]",
    "custom_reward": r"tensor\(\[-?\d.*class \d before the first frame: tensor\(\[0\.\d+",
    "evaluate_rule": r"random +[+-]0\.\d+ over 6 videos\ncenter .*\nheuristic .*\nmotion ",
    "export_onnx": r"glance\.onnx .*\nPyTorch: .* ONNX Runtime: ",
    "find_the_patch": r"the best return is 2\.0\n.*8 (1\.[5-9]|2\.0)",
    "gym_loop": r"return -?\d\.\d+ of video .*\nthe last frame as a picture: \(\d+, \d+, 3\)",
    "predict": r"GMACs; f_L on whole frames takes 0\.\d+\ncentre: ",
    "read_record": r"6 videos of 4 frames, .*\nppo moves its patch by \d+\.\d pixels",
    "stable_baselines3": r"positions \[(\d, ){7}\d\]",
    "stream": r"^0 \S+ 0\.\d\d ",
    "train_policy": r"top-1 \d+\.\d % of 6 validation videos\nsaved \d+ bytes; 64 units",
    "vector_env": r"torch\.Size\(\[32, \d+, \d+, \d+\]\) cpu\nreturns .*\nrewards torch\.Size\(\[32, 4\]\)",
}
"""What each prints on the tiny run, in its last lines or somewhere."""


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(
    name: str, as_printed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(as_printed)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "runs/demo", "a.mp4"])
    monkeypatch.setattr(REWARDS, "_entries", {**REWARDS._entries})  # one registers its own, for this test only
    before = {*(as_printed / "runs" / "demo").rglob("*")}
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert re.search(PRINTS[name], capsys.readouterr().out, re.DOTALL)
    assert {*(as_printed / "runs" / "demo").rglob("*")} == before


def test_the_index_names_every_example() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[(\S+)\]\(\1\) \|", index, re.MULTILINE)
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert sorted(named) == sorted(there) == sorted(f"{name}.py" for name in PRINTS)
    long = [path.name for path in EXAMPLES.glob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 50]
    assert long == []
