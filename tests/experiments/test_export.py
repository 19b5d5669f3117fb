"""ONNX files compute what PyTorch does, for every network and agent that can be exported; the others say why not."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gymnasium.vector import AutoresetMode

from adafocus_rl.agents import Agent, CenterAgent, HeuristicAgent, MotionAgent, PPOAgent, PPOOptions, RandomAgent
from adafocus_rl.agents.methods import AdaFocus, WholeFrames
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.export import onnx_files, web_runtime
from adafocus_rl.experiments.export.cells import GlanceCell, cells_of
from adafocus_rl.experiments.export.onnx_recognizer import OnnxRecognizer
from adafocus_rl.experiments.export.page import write_page
from adafocus_rl.experiments.export.web_runtime import WebRuntime, find_runtime
from adafocus_rl.experiments.export.write import export_onnx
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.features import GivenClips
from adafocus_rl.models import EncoderConfig, ModelConfig, Recognizer
from adafocus_rl.models.config import ClassifierConfig

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

Cli = Any

SMALL = ModelConfig(
    glance=EncoderConfig(name="small_glance"),
    focus=EncoderConfig(name="small_focus"),
    classifier=ClassifierConfig(hidden=12, dropout=0.5),
    frame_size=32,
    glance_size=12,
    patch_size=16,
    grid=3,
    num_classes=4,
)
NETWORK = {"hidden": 12, "reduced_channels": 4, "conv_hidden": 8}
VIDEOS, FRAMES = 3, 4


def clips(seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (VIDEOS, FRAMES, 3, 32, 32), dtype=torch.uint8, generator=draw)


def method_of(
    kind: type[Agent] = PPOAgent,
    *,
    model: ModelConfig = SMALL,
    options: dict[str, Any] | None = None,
    frames: torch.Tensor | None = None,
    **spaces: Any,
) -> AdaFocus:
    """Untrained networks with random statistics and biases, so that nothing is a neutral element."""
    torch.manual_seed(1)
    recognizer = Recognizer(model).eval()
    source = GivenClips(recognizer, clips() if frames is None else frames)
    env = PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=VIDEOS, shuffle=False, autoreset_mode=AutoresetMode.DISABLED, **spaces
    )
    agent = kind(env, PPOOptions(**NETWORK, **(options or {})) if kind is PPOAgent else None)
    networks = [recognizer, *([agent.network] if isinstance(agent, PPOAgent) else [])]
    with torch.no_grad():
        for network in networks:
            for name, tensor in network.state_dict().items():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 2)
                elif name.endswith(("bias", "running_mean", "prior")) or "bias_" in name:
                    tensor.normal_(std=0.3)
    return AdaFocus(recognizer, env=env, agent=agent)


def predictor_of(method: AdaFocus) -> Predictor:
    """As of a run; an export reads its configuration only."""
    config = load_settings(find_recipe("moving_digits")).config
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_frames=FRAMES))
    return Predictor(SimpleNamespace(config=config, device=torch.device("cpu")), method, knob=None, names=[*"abcd"])  # type: ignore[arg-type]


def check_equal(method: AdaFocus, folder: Path) -> None:
    """Whole episodes in PyTorch, with sequence calls, against cells in ONNX Runtime."""
    export_onnx(predictor_of(method), folder)
    recognizer = OnnxRecognizer(folder, threads=1)
    env = method.env
    rollout = env.rollout(method.agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    for rows in (slice(0, VIDEOS), slice(1, 2)):
        logits, boxes = recognizer.recognise(clips()[rows].numpy())
        assert np.array_equal(boxes, env.chosen_boxes(rollout)[rows].numpy())
        assert np.abs(logits - rollout.logits[rows].numpy()).max() < 1e-4


AGENTS: list[tuple[type[Agent], dict[str, Any], dict[str, Any]]] = [
    (PPOAgent, {}, {}),
    (PPOAgent, {"network": "conv"}, {"last_action": True, "time_step": True}),
    (PPOAgent, {"cell": "lstm", "batch_norm": True}, {"observation": "vector", "last_action": True}),
    (PPOAgent, {"cell": "none"}, {"action_space": "continuous", "time_step": True}),
    (HeuristicAgent, {}, {}),
    (CenterAgent, {}, {"action_space": "continuous"}),
]


@pytest.mark.parametrize(("kind", "options", "spaces"), AGENTS)
def test_every_agent_that_can_be_exported(
    kind: type[Agent], options: dict[str, Any], spaces: dict[str, Any], tmp_path: Path
) -> None:
    check_equal(method_of(kind, options=options, **spaces), tmp_path)


@pytest.mark.parametrize("name", ["gru", "average", "max_pool"])
def test_every_classifier(name: Any, tmp_path: Path) -> None:
    model = dataclasses.replace(SMALL, classifier=dataclasses.replace(SMALL.classifier, name=name), grid=1)
    check_equal(method_of(CenterAgent, model=model), tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_the_papers_encoders(tmp_path: Path) -> None:
    model = dataclasses.replace(
        SMALL, glance=EncoderConfig(name="mobilenet_v2"), focus=EncoderConfig(name="resnet50"), glance_size=32
    )
    check_equal(method_of(HeuristicAgent, model=model), tmp_path)


def test_a_recurrent_network_is_the_formula_of_its_cell(tmp_path: Path) -> None:
    """ONNX's GRU applies the reset gate before the product by default, PyTorch's after it."""
    export_onnx(predictor_of(method_of(options={"cell": "gru"})), tmp_path)
    for name in ("glance", "classifier"):
        model = onnx.load(tmp_path / f"{name}.onnx")
        operators = {node.op_type for node in model.graph.node}
        assert {"Sigmoid", "Tanh"} <= operators
        assert not {"GRU", "LSTM", "RNN", "Loop", "Scan"} & operators
        assert [entry.version for entry in model.opset_import] == [onnx_files.OPSET]


def test_a_run_is_exported_by_the_program(cli: Cli, finished: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("export", finished, "--to", "onnx", "--out", out)
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == [
        "classifier.onnx",
        "export.json",
        "focus.onnx",
        "glance.onnx",
    ]
    assert "--web" in done.err
    facts = json.loads((out / "export.json").read_text())
    assert facts["models"]["glance"]["inputs"]["frames"] == {"dtype": "uint8", "shape": ["batch", 3, 32, 32]}
    assert facts["models"]["focus"]["inputs"]["images"]["shape"] == ["batch", 3, "height", "width"]
    # 3×3 patches of side 16 on frames of side 32.
    assert facts["boxes"] == [[top, left, 16, 16] for top in (0, 8, 16) for left in (0, 8, 16)]
    recognizer, predictor = OnnxRecognizer(out, threads=1), Predictor.load(finished, device="cpu")
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    for number in range(3):
        found = predictor.predict(root / "val" / f"{number:05d}.mp4")
        logits, boxes = recognizer.recognise(found.clip[None].numpy())
        assert np.array_equal(boxes[0], found.boxes.numpy())
        assert np.abs(logits[0] - found.trace.logits[0].numpy()).max() < 1e-4
    assert facts["classes"] == predictor.names
    assert facts["frames"] * facts["gmacs"]["frame"] == pytest.approx(found.gmacs, rel=1e-9)
    assert facts["frames"] * facts["gmacs"]["whole_frame"] == pytest.approx(found.full_frame_gmacs, rel=1e-9)
    done = cli("export", finished, "--out", out)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is not empty; give a new or an empty folder" in done.err


def test_the_pages_program_needs_nothing_but_the_folder(
    finished: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is printed in docs/export.md."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "adafocus_rl" not in program
    predictor = Predictor.load(finished, device="cpu")
    export_onnx(predictor, tmp_path / "exported")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program, names)
    found = predictor.predict(Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00001.mp4")
    frames = names["recognise"](found.clip.numpy())
    assert [place for _, place in frames] == [(top, left) for top, left, *_ in found.boxes.tolist()]
    assert np.abs(frames[-1][0] - found.probabilities.numpy()).max() < 1e-4


def test_a_damaged_export_is_named(finished: Path, tmp_path: Path) -> None:
    export_onnx(Predictor.load(finished, device="cpu"), tmp_path)
    content = (tmp_path / "focus.onnx").read_bytes()
    (tmp_path / "focus.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot load .*focus\.onnx"):
        OnnxRecognizer(tmp_path)
    facts = json.loads((tmp_path / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps({**facts, "format_version": 2}))
    with pytest.raises(UserError, match=r"export\.json is not of format 1"):
        OnnxRecognizer(tmp_path)


def test_what_cannot_be_exported_says_why(cli: Cli, finished: Path, tmp_path: Path) -> None:
    for agent, words in (
        ("RandomAgent", "RandomAgent cannot be exported"),
        ("OracleAgent", "nobody knows of a new video"),
    ):
        done = cli("export", finished, "--out", tmp_path / "out", "--agent", agent)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert words in done.err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="MotionAgent cannot be exported"):
        cells_of(method_of(MotionAgent))
    with pytest.raises(UserError, match=r"env\.motion cannot be exported"):
        cells_of(method_of(CenterAgent, motion=True))
    with pytest.raises(UserError, match="only AdaFocus can"):
        cells_of(WholeFrames(Recognizer(SMALL)))
    with pytest.raises(UserError, match="RandomAgent cannot"):
        method_of(RandomAgent).agent.best_actions()


def test_a_network_that_is_traced_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    method = method_of(CenterAgent)
    cell = GlanceCell(method)
    forward = cell.forward
    # The trace takes the number of videos for a constant.
    monkeypatch.setattr(cell, "forward", lambda frames: (forward(frames)[0] + float(len(frames)), forward(frames)[1]))
    with pytest.raises(UserError, match="glance cannot be exported: ONNX Runtime's results differ from PyTorch's"):
        onnx_files.write_cell(cell, tmp_path / "glance.onnx")
    monkeypatch.setattr(cell, "forward", lambda frames: (torch.special.ndtri(forward(frames)[0]), forward(frames)[1]))
    with pytest.raises(UserError, match="glance cannot be exported: PyTorch's exporter says"):
        onnx_files.write_cell(cell, tmp_path / "glance.onnx")
    assert [*tmp_path.iterdir()] == []


def test_a_failed_export_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    method = method_of(CenterAgent)
    monkeypatch.setattr(method.env.problem.classifier, "logits", torch.special.ndtri)
    with pytest.raises(UserError, match="classifier cannot be exported"):
        export_onnx(predictor_of(method), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_without_the_extra_one_sentence_says_what_to_install(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    done = cli("export", finished, "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "needs onnx and onnxruntime, which are not installed; run pip install 'adafocus_rl[onnx]'" in done.err


# ---- ONNX Runtime Web and the page ----------------------------------------------------------------------------------


def npm_package(folder: Path, name: str = "onnxruntime-web") -> Path:
    """A package like the real one, with nothing in it."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3"}))
    for file in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / "dist" / file).write_text(file)
    return folder


def test_the_npm_package_is_read_from_a_folder_and_from_a_file(tmp_path: Path) -> None:
    folder = npm_package(tmp_path / "package")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as packed:
        packed.add(folder, "package")
    expected = WebRuntime(
        version="1.2.3",
        script=b"ort.wasm.min.mjs",
        loader=b"ort-wasm-simd-threaded.mjs",
        binary=b"ort-wasm-simd-threaded.wasm",
    )
    assert find_runtime(str(folder)) == find_runtime(str(tmp_path / "a.tgz")) == expected
    (tmp_path / "half.tgz").write_bytes((tmp_path / "a.tgz").read_bytes()[:200])
    (tmp_path / "text.tgz").write_text("no archive")
    other = npm_package(tmp_path / "other", name="onnxruntime-node")
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "half.tgz", tmp_path / "text.tgz", tmp_path / "gone", tmp_path / "empty", other):
        with pytest.raises(UserError, match="onnxruntime-web"):
            find_runtime(str(source))


def test_the_program_npm_is_asked_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is no program npm here"):
        find_runtime("npm")
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 'npm error: no such version' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: str(program))
    with pytest.raises(UserError, match="no such version"):
        find_runtime("npm")
    npm_package(tmp_path / "package")
    program.write_text(f"#!/bin/sh\ntar czf onnxruntime-web-1.2.3.tgz -C {tmp_path} package\n")
    assert find_runtime("npm").version == "1.2.3"


def test_the_page_asks_nobody_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x" * 100)
    facts = {
        "name": "</script><b>", "frames": 4, "frame_size": 32, "glance_size": 16, "patch_size": 16, "short_side": 0,
        "adafocus_rl": "0", "classes": ["</script>"], "models": {"a": {"file": "a.onnx"}},
    }  # fmt: skip
    runtime = WebRuntime(version="1.2.3", script=b"s", loader=b"l", binary=b"b")
    write_page(tmp_path, "try.html", facts, runtime)
    text = (tmp_path / "try.html").read_text()
    assert "connect-src 'none'" in html.unescape(text)
    assert text.count("</script") == text.count("<script") == 6
    assert 'src="' not in text
    assert 'href="' not in text
    monkeypatch.setattr("adafocus_rl.experiments.export.page.EMBEDDED", 99)
    write_page(tmp_path, "try.html", facts, runtime)
    text = (tmp_path / "try.html").read_text()
    assert "connect-src 'self'" in html.unescape(text)
    assert 'id="model-a"' not in text
