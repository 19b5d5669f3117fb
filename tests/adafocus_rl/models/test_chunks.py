"""Encoding in chunks gives what encoding at once gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adafocus_rl.models import chunks
from adafocus_rl.models.chunks import CPU_CHUNK_PIXELS, in_chunks, maps_of, vectors_of
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


@pytest.mark.parametrize(("side", "images", "sizes"), [(128, 19, [8, 8, 3]), (224, 4, [2, 2]), (32, 128, [128])])
@torch.no_grad()
def test_chunks_have_as_many_images_as_their_pixels_allow(side: int, images: int, sizes: list[int]) -> None:
    encoder = Watched().eval()
    x = torch.arange(images).float()[:, None, None, None].expand(-1, 3, side, side)
    assert vectors_of(encoder, x)[:, 0].tolist() == [*range(images)]
    assert maps_of(encoder, x).shape == (images, 3, 1, 1)
    assert encoder.sizes == [*sizes, *sizes]


@torch.no_grad()
def test_an_image_may_have_more_pixels_than_a_chunk_and_a_batch_may_be_empty() -> None:
    side = int(CPU_CHUNK_PIXELS**0.5) + 1
    encoder = Watched().eval()
    assert vectors_of(encoder, torch.zeros(2, 3, side, side)).shape == (2, 3)
    assert vectors_of(encoder, torch.zeros(0, 3, side, side)).shape == (0, 3)
    assert encoder.sizes == [1, 1, 0]


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
def test_features_are_equal_within_the_rounding_of_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder, x = create_encoder(name).eval(), torch.randn(7, 3, 48, 48)
    monkeypatch.setattr(chunks, "CPU_CHUNK_PIXELS", 2 * 48**2)
    whole, parts = encoder.forward_map(x), in_chunks(encoder.forward_map, x)
    assert parts.shape == whole.shape
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))
    assert torch.equal(vectors_of(encoder, x[:2]), encoder(x[:2]))
