"""Folded encoders compute what the originals compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.models.encoders import Encoder, create_encoder
from adafocus_rl.models.folding import LowPrecisionEncoder, fold_batch_norms

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
