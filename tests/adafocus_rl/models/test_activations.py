"""What is kept for the gradients, counted in closed form; and computing it again changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from adafocus_rl.models.activations import activation_bytes
from adafocus_rl.models.encoders import Encoder, create_encoder


def test_bytes_in_closed_form() -> None:
    # A layer keeps its convolution's output, for batch normalisation, and the activation after that; the image on top.
    maps = [(16, 16), (32, 8), (64, 4), (128, 2)]  # width and side of small_focus on 32 pixels
    sizes = [4 * width * side**2 for width, side in maps]
    image = 4 * 3 * 32**2
    found = activation_bytes(create_encoder("small_focus"), 32)
    assert found.kept == image + 2 * sum(sizes)
    assert found.inputs == image + sum(sizes[:-1])
    assert found.largest_block == 2 * sizes[0]
    assert found.with_recompute == image + sum(sizes[:-1]) + 2 * sizes[0]


def test_half_precision_keeps_half_of_what_is_computed_in_it() -> None:
    full = activation_bytes(create_encoder("resnet50"), 64)
    half = activation_bytes(create_encoder("resnet50"), 64, dtype=torch.bfloat16)
    assert 0.5 <= half.kept / full.kept < 0.53
    assert full.with_recompute < 0.5 * full.kept


@pytest.mark.parametrize("name", ["small_focus", "mobilenet_v2", "tsm_resnet18"])
@pytest.mark.parametrize("training", [True, False])
def test_recomputation_changes_neither_gradients_nor_statistics(name: str, training: bool) -> None:
    plain = create_encoder(name).train(training)
    plain.set_num_frames(2)
    other: Encoder = copy.deepcopy(plain)
    other.recompute = True
    x = torch.randn(4, 3, 32, 32)
    vectors = []
    for encoder in (plain, other):
        vectors.append(encoder(x))
        vectors[-1].square().sum().backward()
    assert torch.equal(vectors[0], vectors[1])
    for (key, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert one.grad is not None, key
        assert torch.equal(one.grad, two.grad), key
    for (key, first), second in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(first, second), key


def test_recomputation_keeps_the_inputs_of_blocks_only() -> None:
    encoder = create_encoder("resnet18").train()
    images = torch.randn(2, 3, 32, 32)

    def kept(*, recompute: bool) -> list[Tensor]:
        """Each tensor once that is kept for the gradients and is no weight (torch 2.6 keeps empty ones besides)."""
        encoder.recompute = recompute
        weights = {parameter.data_ptr() for parameter in encoder.parameters()}
        found: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.numel() and tensor.data_ptr() not in weights:
                found[tensor.data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoder.forward_map(images)
        return list(found.values())

    plain, recomputed = kept(recompute=False), kept(recompute=True)
    # Of the stem and of eight residual blocks, two of each width.
    blocks = [(64, 8), (64, 8), (64, 8), (128, 4), (128, 4), (256, 2), (256, 2), (512, 1)]
    expected = [(2, 3, 32, 32), *((2, width, side, side) for width, side in blocks)]
    assert [tuple(tensor.shape) for tensor in recomputed] == expected
    assert sum(tensor.nbytes for tensor in recomputed) < 0.5 * sum(tensor.nbytes for tensor in plain)
