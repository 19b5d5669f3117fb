"""Encoding in chunks gives what encoding at once gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adafocus_rl.models import chunks
from adafocus_rl.models.chunks import chunk_size, in_chunks, largest_activation, maps_of, vectors_of
from adafocus_rl.models.encoders import Encoder, create_encoder


class Watched(Encoder):
    """Returns the mean of each image, and notes how many images it gets at once."""

    map_channels = vector_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward_map(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(("most", "sizes"), [(100, [8, 8, 3]), (47, [2] * 9 + [1]), (1, [1] * 19), (1000, [19])])
@torch.no_grad()
def test_chunks_are_powers_of_two_that_the_largest_activation_allows(
    most: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Watched().eval()
    x = torch.arange(19).float()[:, None, None, None].expand(-1, 3, 16, 16)
    assert largest_activation(encoder, x[:1]) == 3 * 4
    assert largest_activation(encoder, x[:2]) == 2 * 3 * 4
    monkeypatch.setattr(chunks, "LARGEST_ACTIVATION", most)
    encoder.sizes.clear()
    assert vectors_of(encoder, x)[:, 0].tolist() == [*range(19)]
    # One image is encoded first, to measure.
    assert encoder.sizes == [1, *sizes]
    assert maps_of(encoder, x).shape == (19, 3, 1, 1)
    assert encoder.sizes == [1, *sizes, *sizes]


@torch.no_grad()
def test_activations_of_hidden_layers_count() -> None:
    encoder = create_encoder("small_glance").eval()
    # The first layer keeps the size of the image, with 16 channels.
    assert largest_activation(encoder, torch.zeros(1, 3, 32, 32)) == 16 * 32 * 32 * 4
    resnet = create_encoder("resnet18").eval()
    # 64 channels of half the side: 1 MB for each patch of 128.
    assert chunk_size(resnet, torch.zeros(64, 3, 128, 128)) == 16


@torch.no_grad()
def test_a_batch_may_be_empty() -> None:
    encoder = Watched().eval()
    assert vectors_of(encoder, torch.zeros(0, 3, 8, 8)).shape == (0, 3)
    assert encoder.sizes == [0]


def test_batches_stay_whole_where_something_depends_on_all_of_their_images() -> None:
    x = torch.zeros(19, 3, 128, 128)
    encoder = Watched().eval()
    vectors_of(encoder, x)  # gradients
    with torch.no_grad():
        vectors_of(encoder.train(), x)  # batch statistics
        encoder.eval().temporal = True
        maps_of(encoder, x)  # frames of a clip
    assert encoder.sizes == [19, 19, 19]


@pytest.mark.parametrize("name", ["small_focus", "mobilenet_v2", "resnet18"])
@torch.no_grad()
def test_features_are_equal_within_the_rounding_of_float32(name: str) -> None:
    torch.manual_seed(0)
    encoder, x = create_encoder(name).eval(), torch.randn(7, 3, 48, 48)
    whole, parts = encoder.forward_map(x), in_chunks(encoder.forward_map, x, 2)
    assert parts.shape == whole.shape
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))
    assert torch.equal(vectors_of(encoder, x[:2]), encoder(x[:2]))
