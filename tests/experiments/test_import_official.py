"""A public checkpoint becomes a run that computes what the published architecture computes."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.recognition import load_trained, recognize
from adafocus_rl.features import GivenClips
from adafocus_rl.models.official import read_official
from adafocus_rl.models.saving import load_recognizer
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

Cli = Any
Tensors = dict[str, Tensor]


class Published(nn.Module):
    """The published architecture, its parameters under the names that its checkpoints have."""

    def __init__(
        self, *, classes: int, hidden: int = 1024, actions: int = 49, policy_hidden: int = 1024, places: int = 49
    ) -> None:
        super().__init__()
        self.glancer = nn.ModuleDict({"net": torchvision.models.mobilenet_v2(num_classes=classes)})
        self.focuser = nn.ModuleDict({"net": torchvision.models.resnet50(num_classes=classes)})
        self.fc = nn.ModuleDict(
            {"gru": nn.GRU(1280 + 2048, hidden, batch_first=True), "fc": nn.Linear(hidden, classes)}
        )
        self.policy = nn.ModuleDict(
            {
                "state_encoder": nn.Sequential(
                    nn.Conv2d(1280, 32, 1, bias=False), nn.ReLU(), nn.Flatten(),
                    nn.Linear(32 * places, policy_hidden), nn.ReLU(),
                ),
                "gru": nn.GRU(policy_hidden, policy_hidden),
                "actor": nn.Sequential(nn.Linear(policy_hidden, actions)),
                "critic": nn.Sequential(nn.Linear(policy_hidden, 1)),
            }
        )  # fmt: skip

    def checkpoint(self, *, policy: bool = True) -> dict[str, Any]:
        """What the public code hands to ``torch.save``."""
        focuser = {**self.focuser.state_dict()}
        own = self.policy.state_dict()
        if policy:
            for copy in ("policy", "policy_old"):
                focuser |= {f"policy.{copy}.{name}": value for name, value in own.items()}
        return {
            "epoch": 51, "model_state_dict": self.state_dict(), "glancer": self.glancer.state_dict(),
            "focuser": focuser, "fc": self.fc.state_dict(), "scaler": None, "policy": own if policy else None,
            # A tensor from top-1, one of NumPy's numbers from mAP.
            "acc": torch.tensor(75.0), "best_acc": np.float64(75.0), "optimizer": {"state": {}, "param_groups": []},
        }  # fmt: skip


def blobs(count: int, *, seed: int) -> Tensor:
    """Frames (count, 3, 224, 224) of coarse blobs of colour, in which frames and places differ."""
    coarse = 2 * torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic")


@torch.no_grad()
def drawn(seed: int, **sizes: int) -> Published:
    """Seeded weights, and batch statistics as training leaves them, so that features and choices differ."""
    torch.manual_seed(seed)
    network = Published(**sizes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    network.glancer["net"](blobs(4, seed=seed))
    network.focuser["net"](blobs(4, seed=seed)[..., 50:146, 50:146])
    for layer in (0, 3):
        network.policy["state_encoder"][layer].weight *= 4
    network.policy["actor"][0].weight *= 10
    return network.eval()


def gru_step(gru: nn.GRU, x: Tensor, h: Tensor) -> Tensor:
    """The textbook step: reset, update and new gates, in this order in the weights."""
    ri, zi, ni = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
    rh, zh, nh = (gru.weight_hh_l0 @ h + gru.bias_hh_l0).chunk(3)
    reset, update = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
    return (1 - update) * torch.tanh(ni + reset * nh) + update * h


@torch.no_grad()
def published_forward(network: Published, clip: Tensor, patch: int) -> dict[str, list[Any]]:
    """One video (T, 3, 224, 224), frame after frame, as the paper tells it."""
    seen: dict[str, list[Any]] = {name: [] for name in ("glance", "local", "probability", "action", "origin", "logits")}
    glancer, focuser = network.glancer["net"], network.focuser["net"]
    pi, f_c = network.policy, network.fc
    memory, history = torch.zeros(pi["gru"].hidden_size), torch.zeros(f_c["gru"].hidden_size)
    grid = math.isqrt(pi["actor"][0].out_features)
    for frame in clip:
        feature_map = glancer.features(frame[None])
        glance = feature_map.mean([2, 3])[0]
        memory = gru_step(pi["gru"], pi["state_encoder"](feature_map)[0], memory)
        probability = torch.softmax(pi["actor"](memory), dim=0)
        action = int(probability.argmax())
        row, col = (int(k / (grid - 1) * (224 - patch) + 1e-6) for k in divmod(action, grid))
        x = frame[None, :, row : row + patch, col : col + patch]
        x = focuser.maxpool(focuser.relu(focuser.bn1(focuser.conv1(x))))
        for layer in (focuser.layer1, focuser.layer2, focuser.layer3, focuser.layer4):
            x = layer(x)
        local = x.mean([2, 3])[0]
        history = gru_step(f_c["gru"], torch.cat([glance, local]), history)
        values = (glance, local, probability, action, (row, col), f_c["fc"](history))
        for name, value in zip(seen, values, strict=True):
            seen[name].append(value)
    return seen


def close(found: Tensor, expected: Tensor) -> bool:
    """To 1e-4 of the largest entry."""
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


@pytest.mark.slow
def test_an_imported_run_computes_what_is_published(cli: Cli, tmp_path: Path) -> None:
    network = drawn(0, classes=200)
    torch.save(network.checkpoint(), tmp_path / "actnet.pth.tar")
    done = cli("import-official", tmp_path / "actnet.pth.tar", "--out", tmp_path / "run", "--model.patch_size=96")
    assert done.code == 0, done.err

    run = tmp_path / "run"
    recognizer, env, agent = load_trained(run)
    clips = blobs(2 * 3, seed=1).view(2, 3, 3, 224, 224)
    logits, actions = recognize(recognizer, env, agent, clips)
    assert logits.shape == (2, 3, 200)
    assert actions.shape == (2, 3)

    expected = [published_forward(network, clip, 96) for clip in clips]
    assert actions.tolist() == [video["action"] for video in expected]
    assert len({*actions.flatten().tolist()}) > 3, "or choices would not have been tested"
    assert close(logits, torch.stack([torch.stack(video["logits"]) for video in expected]))
    episodes = GivenClips(recognizer, clips).episodes(torch.arange(2))
    outputs, _ = agent.network.sequence(episodes.global_map)  # type: ignore[attr-defined]
    assert close(outputs.softmax(-1), torch.stack([torch.stack(video["probability"]) for video in expected]))
    assert close(episodes.global_vector, torch.stack([torch.stack(video["glance"]) for video in expected]))
    assert close(episodes.local(actions), torch.stack([torch.stack(video["local"]) for video in expected]))
    origins = recognizer.grid.action_origin(actions).tolist()
    assert origins == [[list(origin) for origin in video["origin"]] for video in expected]


def empty(**sizes: int) -> dict[str, Any]:
    """A checkpoint with every name and shape, and next to no bytes: each tensor is one number, repeated."""
    with torch.device("meta"):
        content = Published(**sizes).checkpoint()

    def shrink(tensors: Tensors) -> Tensors:
        return {name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in tensors.items()}

    return {**content, **{name: shrink(content[name]) for name in ("glancer", "focuser", "fc", "policy")}} | {
        "model_state_dict": {}
    }


SMALL = {"classes": 10, "hidden": 16, "actions": 4, "policy_hidden": 24}


def test_the_architecture_is_read_off_the_shapes(tmp_path: Path) -> None:
    torch.save(empty(**SMALL), tmp_path / "small.pth.tar")
    found = read_official([tmp_path / "small.pth.tar"])
    assert found.options == {
        "model.num_classes": 10, "model.classifier.hidden": 16, "model.glance_size": 224, "model.grid": 2,
        "env.action_space": "grid", "agent.reduced_channels": 32, "agent.hidden": 24,
    }  # fmt: skip
    # What is left: heads of single frames, both copies of π within f_L, and the bookkeeping.
    assert {name.rsplit(".", 1)[0] for name in found.unused if "." in name} >= {
        "glancer.net.classifier.1", "focuser.net.fc", "focuser.policy.policy.actor.0",
    }  # fmt: skip
    assert [name for name in found.unused if "." not in name] == [
        "epoch", "model_state_dict", "scaler", "acc", "best_acc", "optimizer",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_imported_run_is_a_normal_run(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    torch.save(Published(**SMALL, places=4).checkpoint(), tmp_path / "small.pth.tar")
    data = yaml.safe_load(recipe.read_text())["data"]
    options = [
        f"--data.root={data['root']}", "--data.embedded=moving_digits", "--data.num_frames=2", "--data.workers=0",
        f"--data.embedded_options={data['embedded_options']}", "--data.resize_short=64", "--data.crop=none",
        "--model.frame_size=64", "--model.patch_size=32",
        "--evaluation.timed_videos=0", "--evaluation.sheet_videos=0",
    ]  # fmt: skip
    done = cli("import-official", tmp_path / "small.pth.tar", "--out", tmp_path / "run", *options)
    assert done.code == 0, done.err
    assert "not used: epoch, model_state_dict" in done.err
    assert "after stage 3: 10 classes, patches of 32 pixels" in done.err
    assert (tmp_path / "run" / "command.txt").read_text().startswith("adafocus import-official ")
    config = load_settings(tmp_path / "run" / "config.yaml").config
    assert (config.model.num_classes, config.model.patch_size, config.data.num_frames) == (10, 32, 2)

    done = cli("evaluate", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    rows = [(row["agent"], row["variant"]) for row in json.loads(done.out)["rows"]]
    assert rows[0] == ("ppo", RANDOM_PATCHES)
    assert ("ppo", FINE_TUNED) in rows
    assert "full_frame" not in dict(rows)

    config_file = tmp_path / "run" / "config.yaml"
    done = cli("train", config_file, "--out", tmp_path / "run", "--stages", "3", "--stage3.epochs=1", "--json")
    assert done.code == 0, done.err


def test_a_file_of_stage_1_has_no_policy(cli: Cli, tmp_path: Path) -> None:
    content = empty(**SMALL)
    focuser = {name: value for name, value in content["focuser"].items() if not name.startswith("policy.")}
    torch.save({**content, "focuser": focuser, "policy": None}, tmp_path / "first.pth.tar")
    done = cli("import-official", tmp_path / "first.pth.tar", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["stage1.safetensors"]
    done = cli("import-official", tmp_path / "first.pth.tar", "--out", tmp_path / "other", "--stage=3")
    assert done.code == 2
    assert "holds no policy" in done.err
    done = cli("import-official", tmp_path / "first.pth.tar", "--out", tmp_path / "run")
    assert done.code == 2
    assert "holds a run already" in done.err


def test_the_copy_of_the_policy_in_f_l_will_do(tmp_path: Path) -> None:
    torch.save({**empty(**SMALL), "policy": None}, tmp_path / "second.pth.tar")
    found = read_official([tmp_path / "second.pth.tar"])
    assert set(found.policy) == {
        name.replace("actor.0", "actor").replace("critic.0", "critic") for name in empty(**SMALL)["policy"]
    }


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trapped",)


def test_what_is_wrong_with_a_file_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(change: Any) -> str:
        content = empty(**SMALL)
        torch.save(change(content) or content, "bad.pth.tar")
        done = cli("import-official", "bad.pth.tar", "--out", "run")
        assert done.code == 2
        assert not Path("run").exists()
        sentence: str = done.err
        assert sentence.count("\n") == 1
        return sentence

    assert "could run code, which are refused" in refused(lambda c: {**c, "acc": Trap()})
    assert not Path("trapped").exists()
    assert "no weights under glancer" in refused(lambda c: c.pop("glancer") is None)
    assert "lacks weights of the recognizer: focus.net.layer1.0.bn1.weight;" in refused(
        lambda c: c["focuser"].pop("net.layer1.0.bn1.weight") is None
    )
    assert "lacks weights of the policy: gru.bias_hh_l0;" in refused(
        lambda c: c["policy"].pop("gru.bias_hh_l0") is None
    )
    assert re.search(r"glance\.net\.features\.18\.0\.weight in shape \(5,\), expected \(1280, 320, 1, 1\)", refused(
        lambda c: c["glancer"].update({"net.features.18.0.weight": torch.zeros(5)})
    ))  # fmt: skip
    assert "not of AdaFocus's architecture" in refused(lambda c: c["fc"].pop("fc.weight") is None)
    assert "holds a Tensor; expected a dict" in refused(lambda c: torch.ones(1))
    done = cli("import-official", "gone.pth.tar", "--out", "run")
    assert done.code == 2
    assert "gone.pth.tar does not exist" in done.err


def test_clips_of_another_size_are_refused(run: Path) -> None:
    recognizer, env, agent = load_trained(run)
    with pytest.raises(UserError, match=r"clips have shape \(2, 4, 3, 16, 16\); .* \(B, T, 3, 32, 32\)"):
        recognize(recognizer, env, agent, torch.zeros(2, 4, 3, 16, 16))


def test_a_run_of_our_own_as_a_library(run: Path) -> None:
    """The last f_C is used, uint8 clips are normalised, and every step agrees with the step-by-step agent."""
    recognizer, env, agent = load_trained(run)
    tensors, _ = checkpoint.load(run / "checkpoints" / "stage3.safetensors")
    assert all(
        torch.equal(value, tensors[f"classifier.{name}"]) for name, value in recognizer.classifier.state_dict().items()
    )
    clips = torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits, actions = recognize(recognizer, env, agent, clips)
    again = recognize(recognizer, env, agent, recognizer.prepare(clips))
    assert torch.equal(logits, again[0])
    assert torch.equal(actions, again[1])
    maps = GivenClips(recognizer, clips).episodes(torch.arange(2)).global_map
    state = None
    for step in range(4):
        action, state = agent.predict(maps[:, step], state, deterministic=True)
        assert torch.equal(action, actions[:, step])
    only = load_recognizer(run / "checkpoints" / "stage1.safetensors")[0]
    assert all(torch.equal(a, b) for a, b in zip(only.focus.parameters(), recognizer.focus.parameters(), strict=True))


def test_the_pages_example_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "official_checkpoints.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "runs").mkdir()
    run.rename(tmp_path / "runs" / "official")
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}
    exec(compile(example, "official_checkpoints.md", "exec"), values)
    assert values["classes"].shape == (2,)
    assert values["boxes"].shape == (2, 16, 4)
