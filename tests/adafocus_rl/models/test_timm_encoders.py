"""Networks of timm as encoders: the contract with a stand-in, and the real package where installed."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adafocus_rl.errors import UserError
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import EncoderConfig, ModelConfig, Recognizer
from adafocus_rl.models.deployed import DeployedEncoder
from adafocus_rl.models.encoders import create_encoder


class _Network(nn.Module):
    """What timm's networks offer of which encoders make use."""

    def __init__(self, num_classes: int, num_features: int = 6, *, layout: str = "", side: int | None = None) -> None:
        super().__init__()
        self.layout, self.side = layout, side
        self.pretrained_cfg = {"classifier": "head.fc"}
        self.conv = nn.Conv2d(3, num_features, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(num_features)
        self.head = nn.Sequential()
        self.head.add_module("fc", nn.Linear(num_features, num_classes) if num_classes else nn.Identity())

    def forward_features(self, x: Tensor) -> Tensor:
        assert self.side in (None, x.shape[-1]), f"only {self.side} pixels"
        maps: Tensor = self.norm(self.conv(x))
        return {"": maps, "tokens": maps.flatten(2).mT, "last": maps.movedim(1, -1)}[self.layout]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.forward_features(x).mean((2, 3)))
        return logits


OPTIONS: dict[str, dict[str, Any]] = {
    "net_small": {}, "tokens": {"layout": "tokens"}, "channels_last": {"layout": "last"}, "one_size": {"side": 224},
}  # fmt: skip


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for timm with a few networks."""

    def create_model(name: str, *, pretrained: bool, num_classes: int) -> _Network:
        assert not pretrained
        return _Network(num_classes, **OPTIONS[name])

    package = types.ModuleType("timm")
    found = {
        "__version__": "9", "is_model": OPTIONS.__contains__, "list_models": lambda: [*OPTIONS],
        "create_model": create_model,
    }  # fmt: skip
    package.__dict__.update(found)
    monkeypatch.setitem(sys.modules, "timm", package)


@pytest.mark.usefixtures("timm")
def test_a_network_is_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = _Network(4)
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    encoder = create_encoder("timm:net_small", weights=str(tmp_path / "weights.safetensors")).eval()
    assert (encoder.map_channels, encoder.vector_dim) == (6, 6)
    images = torch.randn(2, 3, 20, 20)
    maps = encoder.forward_map(images)
    assert maps.shape == (2, 6, 10, 10)
    torch.testing.assert_close(whole.eval().head.get_submodule("fc")(encoder(images)), whole(images))
    torch.testing.assert_close(DeployedEncoder(encoder)(images), encoder(images), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("timm")
def test_a_probe_leaves_statistics_as_they_were_and_compute_is_counted() -> None:
    encoder = create_encoder("timm:net_small")
    assert encoder.training
    statistics = encoder.get_buffer("net.norm.running_mean")
    assert torch.equal(statistics, torch.zeros(6))
    # 8×8 outputs of six kernels of 3×3×3.
    assert encoder_macs(encoder.eval(), 16) == 64 * 6 * 27


@pytest.mark.usefixtures("timm")
def test_both_parts_of_a_recognizer_are_such_networks() -> None:
    config = ModelConfig(
        glance=EncoderConfig(name="timm:net_small"), focus=EncoderConfig(name="timm:net_small"), frame_size=32,
        glance_size=16, patch_size=16, grid=2, num_classes=3,
    )  # fmt: skip
    recognizer = Recognizer(config)
    assert recognizer.signature()["focus"] == "timm:net_small"
    assert recognizer.signature()["focus_dim"] == 6


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:net_smal", r"did you mean 'timm:net_small'\? timm 9 has no such network"),
        ("timm:hf-hub:someone/net", "timm 9 has no such network"),
        ("timm:tokens", r"features of shape \(1, 1024, 6\) instead of maps \(N, C, h, w\)"),
        ("timm:channels_last", r"features of shape \(1, 32, 32, 6\) instead of maps"),
        ("timm:one_size", r"does not take images of 64×64 pixels \(only 224 pixels\)"),
        ("tim:net_small", "unknown package of encoders 'tim'; did you mean 'timm'"),
    ],
)
def test_networks_without_maps_and_unknown_names_are_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        create_encoder(name)


def test_without_timm_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm, which is not installed; run pip install"):
        create_encoder("timm:mobilenetv3_small_100")


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t"])
def test_real_networks(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs timm (the extra timm)")
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=5).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    encoder = create_encoder(f"timm:{name}", weights=str(tmp_path / "weights.safetensors")).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        maps = encoder.forward_map(images)
        torch.testing.assert_close(maps, whole.forward_features(images))
        assert maps.shape == (2, encoder.map_channels, 3, 3)
        torch.testing.assert_close(encoder(images), maps.mean((2, 3)))
        torch.testing.assert_close(DeployedEncoder(encoder)(images), encoder(images), rtol=1e-3, atol=1e-4)
