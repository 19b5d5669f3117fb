"""Folded encoders compute what the originals compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.models import folding
from adafocus_rl.models.encoders import Encoder, create_encoder
from adafocus_rl.models.folding import LowPrecisionEncoder, cancellation, fold_batch_norms

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def _with_statistics(encoder: Encoder) -> Encoder:
    """Give the batch norms statistics and weights that a fold has to take into account."""
    random = torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.1 * torch.randn(module.num_features, generator=random)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=random)
            module.weight.data = 0.5 + torch.rand(module.num_features, generator=random)
            module.bias.data = 0.1 * torch.randn(module.num_features, generator=random)
    return encoder.eval()


def _batch_norms(encoder: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())


@pytest.mark.parametrize("name", ["small_focus", "mobilenet_v2", "resnet18"])
@torch.no_grad()
def test_folding_changes_no_feature(name: str) -> None:
    encoder = _with_statistics(create_encoder(name))
    before = _batch_norms(encoder)
    folded = fold_batch_norms(encoder)
    assert _batch_norms(folded) == 0
    assert _batch_norms(encoder) == before > 0
    expected = encoder(IMAGES)
    torch.testing.assert_close(folded(IMAGES), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class Reversed(Encoder):
    """Registers a convolution before a batch norm that does not follow it."""

    map_channels = vector_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward_map(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(self.norm(x))
        return maps


@torch.no_grad()
def test_batch_norms_that_do_not_follow_their_convolution_are_kept() -> None:
    encoder = _with_statistics(Reversed())
    folded = fold_batch_norms(encoder)
    assert _batch_norms(folded) == 1
    torch.testing.assert_close(folded(IMAGES), encoder(IMAGES))


@torch.no_grad()
def test_an_encoder_without_weights_is_copied() -> None:
    assert fold_batch_norms(create_encoder("none"))(IMAGES).shape == (2, 0)


@torch.no_grad()
def test_low_precision_takes_and_returns_float32() -> None:
    encoder = _with_statistics(create_encoder("small_focus"))
    low = LowPrecisionEncoder(encoder, torch.bfloat16)
    assert next(low.parameters()).dtype == torch.bfloat16
    assert next(encoder.parameters()).dtype == torch.float32
    expected, found = encoder(IMAGES), low(IMAGES)
    assert found.dtype == torch.float32
    assert low.vector_dim == encoder.vector_dim
    error = float((found - expected).norm() / expected.norm())
    assert 0 < error < 0.03


@torch.no_grad()
def test_cancellation_is_what_is_subtracted_beside_what_is_left() -> None:
    norm = nn.BatchNorm2d(2, eps=0.0).eval()
    norm.running_mean, norm.running_var = torch.tensor([30.0, 40.0]), torch.tensor([0.25, 0.25])
    norm.weight.data, norm.bias.data = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    # Scales are 6 and 0, so 180 is subtracted; deviations of 3 and 0 are left, and means of 0 and 4.
    assert cancellation(norm) == pytest.approx(180 / 5)
    assert cancellation(nn.BatchNorm2d(2, track_running_stats=False)) == 0


def _cancelling(name: str, number: int) -> Encoder:
    """Return an encoder with a batch norm, the first of a block, that subtracts 400 times what it leaves."""
    encoder = _with_statistics(create_encoder(name))
    before, block = encoder.blocks()[number - 1 : number + 1]
    # One channel is always 1. The next convolution adds 400 deviations of it to each output, and the batch norm
    # subtracts them again.
    constant = [module for module in before.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    constant.weight.data[0], constant.bias.data[0] = 0.0, 1.0
    conv = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in block.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    middle = conv.weight.shape[-1] // 2
    conv.weight.data[:, 0] = 0.0
    conv.weight.data[:, 0, middle, middle] = 400.37 * norm.running_var.sqrt()
    norm.running_mean += conv.weight.data[:, 0, middle, middle]
    return encoder


@pytest.mark.parametrize(("name", "number"), [("small_focus", 1), ("mobilenet_v2", 2), ("resnet18", 1)])
@torch.no_grad()
def test_blocks_that_cancel_stay_float32(name: str, number: int) -> None:
    low = LowPrecisionEncoder(_cancelling(name, number), torch.bfloat16)
    types = [next(block.parameters()).dtype for block in low.encoder.blocks()]
    assert low.exact_blocks == number + 1
    assert {*types[: number + 1]} == {torch.float32}
    assert {*types[number + 1 :]} == {torch.bfloat16}
    assert low(IMAGES).dtype == torch.float32


@pytest.mark.parametrize("name", ["small_focus", "resnet18"])
@torch.no_grad()
def test_blocks_in_float32_avoid_the_error_of_cancellation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder = _cancelling(name, 1)
    expected = encoder(IMAGES)
    errors = []
    for most in (16.0, float("inf")):
        monkeypatch.setattr(folding, "MOST_CANCELLED", most)
        found = LowPrecisionEncoder(encoder, torch.bfloat16)(IMAGES)
        errors.append(float((found - expected).norm() / expected.norm()))
    assert 0 < errors[0] < 0.03
    assert errors[1] > 3 * errors[0]
