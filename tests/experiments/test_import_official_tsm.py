"""Public checkpoints of AdaFocus-TSM, and of TSM's networks that it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck

from adafocus_rl import checkpoint
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.recognition import load_trained, recognize
from adafocus_rl.models.saving import load_recognizer

Cli = Any
Tensors = dict[str, Tensor]


def shifted_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """The first convolution of every residual block; in MobileNet-V2 of those with an expansion and an identity."""
    found = []
    for block in network.modules():
        if isinstance(block, Bottleneck):
            found.append(block.conv1)
        elif isinstance(block, InvertedResidual) and block.use_res_connect and len(leaves(block.conv)) == 8:
            found.append(leaves(block.conv)[0][1])
    return found


def leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers in their order, activations included."""
    return [(name, layer) for name, layer in module.named_modules() if not list(layer.children())]


def shift(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Frame by frame: an eighth of the channels from the next frame, an eighth from the one before."""
    (x,) = inputs
    eighth = x.shape[1] // 8
    frames = []
    for t in range(len(x)):
        after = x[t + 1, :eighth] if t + 1 < len(x) else torch.zeros_like(x[t, :eighth])
        before = x[t - 1, eighth : 2 * eighth] if t > 0 else torch.zeros_like(x[t, :eighth])
        frames.append(torch.cat([after, before, x[t, 2 * eighth :]]))
    return torch.stack(frames)


def official_names(network: nn.Module) -> Tensors:
    """State dict as TSM's code has it: MobileNet's blocks as one list of layers, the shift around its convolution."""
    shifted = {id(layer) for layer in shifted_convolutions(network)}
    names = {}
    for block_name, block in network.named_modules():
        if isinstance(block, InvertedResidual):
            for number, (inner, layer) in enumerate(leaves(block.conv)):
                names[f"{block_name}.conv.{inner}"] = f"{block_name}.conv.{number}" + ".net" * (id(layer) in shifted)
        elif isinstance(block, Bottleneck):
            names[f"{block_name}.conv1"] = f"{block_name}.conv1.net"
    return {
        f"{names.get(name.rpartition('.')[0], name.rpartition('.')[0])}.{name.rpartition('.')[2]}": value
        for name, value in network.state_dict().items()
    }


def sequence_names(tensors: Tensors) -> Tensors:
    """The same of a ResNet that was made a plain sequence of its layers, the last one cut off."""
    children = [name for name, _ in torchvision.models.resnet50().named_children()]
    return {
        f"{children.index(name.partition('.')[0])}.{name.partition('.')[2]}": value
        for name, value in tensors.items()
        if not name.startswith("fc.")
    }


class Published(nn.Module):
    """AdaFocus-TSM as published; π's state is all of f_G's maps, stacked on the channels."""

    def __init__(self, *, classes: int, hidden: int = 1024, glances: int = 8, places: int = 49) -> None:
        super().__init__()
        self.glancer = torchvision.models.mobilenet_v2(num_classes=classes)
        self.focuser = torchvision.models.resnet50(num_classes=1)
        self.fc = nn.Linear(2048, classes)
        self.state_encoder = nn.Sequential(
            nn.Conv2d(glances * 1280, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * places, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        )  # fmt: skip
        self.gru = nn.GRU(hidden, hidden)
        self.actor = nn.Sequential(nn.Linear(hidden, 2), nn.Sigmoid())
        self.critic = nn.Sequential(nn.Linear(hidden, 1))
        for network in (self.glancer, self.focuser):
            for convolution in shifted_convolutions(network):
                convolution.register_forward_pre_hook(shift)

    def checkpoint(self) -> dict[str, Any]:
        """What the public code hands to ``torch.save``."""
        glancer = {f"net.{name}": value for name, value in official_names(self.glancer).items()}
        # Its MobileNet-V2 ends in a linear layer without dropout before it.
        glancer = {name.replace("classifier.1.", "classifier."): value for name, value in glancer.items()}
        focuser = sequence_names(official_names(self.focuser))
        policy = {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith(("state_encoder.", "gru.", "actor.", "critic."))
        }
        return {
            "epoch": 11, "model_state_dict": {}, "glancer": glancer,
            "focuser": {f"net.base_model.{name}": value for name, value in focuser.items()},
            "fc": self.fc.state_dict(), "policy": policy, "acc": 47.0, "best_acc": torch.tensor(47.0),
            "optimizer": None,
        }  # fmt: skip

    @torch.no_grad()
    def forward(self, glances: Tensor, frames: Tensor, patch: int) -> tuple[Tensor, Tensor, list[int]]:
        """Logits (K,), position (2,) and crop origin of one clip, glances (T_G, 3, S, S) and frames (T_L, 3, S, S)."""
        maps = self.glancer.features(glances)
        logits = self.glancer.classifier(maps.mean([2, 3])).mean(0)
        state = self.state_encoder(torch.cat(list(maps))[None])
        position = self.actor(self.gru(state[None], torch.zeros(1, *state.shape))[0][0])[0]
        row, col = (int(torch.floor(coordinate * (frames.shape[-1] - patch))) for coordinate in position)
        net = self.focuser
        x = net.maxpool(net.relu(net.bn1(net.conv1(frames[..., row : row + patch, col : col + patch]))))
        local = net.layer4(net.layer3(net.layer2(net.layer1(x)))).mean([2, 3])
        return logits + self.fc(local).mean(0), position, [row, col]


def blobs(count: int, *, side: int, seed: int) -> Tensor:
    """Frames of coarse blobs of colour."""
    coarse = 2 * torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")


@torch.no_grad()
def settle(network: nn.Module, frames: Tensor) -> None:
    """Batch statistics as training leaves them; weights of the normalisation that are not all one."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    network.train()(frames)
    network.eval()


@pytest.mark.slow
def test_an_imported_run_computes_what_is_published(cli: Cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Published(classes=174)
    settle(network.glancer, blobs(4, side=224, seed=0))
    settle(network.focuser, blobs(4, side=96, seed=0))
    for layer in (network.state_encoder[1], network.state_encoder[5]):
        nn.init.normal_(layer.running_mean, std=0.1)
        nn.init.uniform_(layer.running_var, 0.1, 0.3)
    network.eval()
    network.actor[0].weight.data.mul_(20)
    torch.save(network.checkpoint(), tmp_path / "sthv1.pth.tar")
    done = cli("import-official", tmp_path / "sthv1.pth.tar", "--out", tmp_path / "run", "--model.patch_size=96")
    assert done.code == 0, done.err
    assert done.err.startswith("not used: epoch, model_state_dict, acc, best_acc, optimizer\n")
    config = load_settings(tmp_path / "run" / "config.yaml").config
    assert (config.model.num_classes, config.model.glance.num_frames, config.model.focus.num_frames) == (174, 8, 12)
    assert config.env.action_space == "continuous"

    recognizer, env, agent = load_trained(tmp_path / "run")
    clips = torch.stack([blobs(20, side=224, seed=seed) for seed in (1, 2)])
    logits, actions = recognize(recognizer, env, agent, clips)
    assert logits.shape == (2, 1, 174)
    assert actions.shape == (2, 1, 2)
    for clip, found, action in zip(clips, logits[:, 0], actions[:, 0], strict=True):
        expected, position, origin = network(clip[:8], clip[8:], 96)
        assert (action - position).abs().max() <= 1e-4
        assert recognizer.grid.origin(action).tolist() == origin
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (actions[0] - actions[1]).abs().max() > 0.01, "or choices would not have been tested"


def network_file(network: nn.Module, classes: int) -> dict[str, Any]:
    """A checkpoint of TSM's code: one network, its last layer beside it."""
    names = official_names(network)
    body = {name: value for name, value in names.items() if not name.startswith(("fc.", "classifier."))}
    width = 2048 if isinstance(network, torchvision.models.ResNet) else 1280
    head = nn.Linear(width, classes).state_dict()
    return {
        "epoch": 50, "arch": "resnet50", "best_prec1": torch.tensor(45.6), "optimizer": {"state": {}},
        "state_dict": {f"module.base_model.{name}": value for name, value in body.items()}
        | {f"module.new_fc.{name}": value for name, value in head.items()},
    }  # fmt: skip


@torch.no_grad()
def test_tsm_by_itself(cli: Cli, tmp_path: Path) -> None:
    """Its logits are the mean over 8 frames of the network's own, and no policy is needed."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    settle(network, blobs(4, side=64, seed=0))
    content = network_file(network, 5)
    torch.save(content, tmp_path / "tsm.pth.tar")
    sizes = [f"--model.{name}=64" for name in ("frame_size", "glance_size", "patch_size")]
    done = cli("import-official", tmp_path / "tsm.pth.tar", "--out", tmp_path / "run", *sizes)
    assert done.code == 0, done.err
    assert "not used: epoch, arch, best_prec1, optimizer" in done.err
    assert sorted(path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["stage0", "stage1"]

    recognizer, env, agent = load_trained(tmp_path / "run")
    clips = blobs(9, side=64, seed=1)[None]  # f_G, which there is none of, has a frame of its own
    logits, _ = recognize(recognizer, env, agent, clips)
    for convolution in shifted_convolutions(network):
        convolution.register_forward_pre_hook(shift)
    network.fc = nn.Identity()
    weight, bias = (content["state_dict"][f"module.new_fc.{name}"] for name in ("weight", "bias"))
    expected = (network(clips[0, 1:]) @ weight.T + bias).mean(0)
    assert (logits[0, 0] - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_two_networks_begin_adafocus_tsm(cli: Cli, tmp_path: Path) -> None:
    """f_C begins with both heads; the order of the files does not matter."""
    torch.manual_seed(0)
    light = network_file(torchvision.models.mobilenet_v2(), 174)
    heavy = network_file(torchvision.models.resnet50(), 174)
    torch.save(light, tmp_path / "light.pth.tar")
    torch.save(heavy, tmp_path / "heavy.pth.tar")
    done = cli("import-official", tmp_path / "heavy.pth.tar", tmp_path / "light.pth.tar", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["stage0"]
    tensors, _ = checkpoint.load(tmp_path / "run" / "checkpoints" / "stage0.safetensors")
    recognizer = load_recognizer(tmp_path / "run" / "checkpoints" / "stage0.safetensors")[0]
    heads = [content["state_dict"]["module.new_fc.weight"] for content in (light, heavy)]
    assert torch.equal(tensors["recognizer.classifier.fc.weight"], torch.cat(heads, dim=1))
    vectors = torch.randn(1, 1, 1280 + 2048)
    expected = sum(
        part @ content["state_dict"]["module.new_fc.weight"].T + content["state_dict"]["module.new_fc.bias"]
        for part, content in zip(vectors[0, 0].split([1280, 2048]), (light, heavy), strict=True)
    )
    torch.testing.assert_close(recognizer.classifier(vectors)[0, 0], expected)

    done = cli("import-official", tmp_path / "light.pth.tar", "--out", tmp_path / "other")
    assert done.code == 2
    assert "MobileNet-V2 alone; give the file with its ResNet-50 beside it" in done.err
    done = cli("import-official", tmp_path / "heavy.pth.tar", tmp_path / "heavy.pth.tar", "--out", tmp_path / "other")
    assert done.code == 2
    assert "the same kind of network" in done.err
    done = cli("import-official", tmp_path / "heavy.pth.tar", "--out", tmp_path / "other", "--stage=3")
    assert done.code == 2
    assert "leave --stage out" in done.err
