"""Deployed encoders compute the originals' features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.errors import UserError
from adafocus_rl.models.captured import CapturedCall, capture, last_warm_up
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.models.deployed import DeployedEncoder, check_compiler
from adafocus_rl.models.encoders import Encoder, create_encoder

IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(3))

TOLERANCE = 1e-4
"""Bound of the error of folding, relative to the largest feature."""


def _trained(encoder: Encoder) -> Encoder:
    random = torch.Generator().manual_seed(1)
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = 0.1 * torch.randn(part.num_features, generator=random)
            part.running_var = 0.5 + torch.rand(part.num_features, generator=random)
    return encoder.eval()


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["small_glance", "small_focus", "mobilenet_v2", "resnet18", "tsm_resnet18"])
@torch.no_grad()
def test_features_are_equal_to_rounding(name: str) -> None:
    encoder = _trained(create_encoder(name))
    encoder.set_num_frames(4)
    fast = DeployedEncoder(encoder)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    assert _error(fast(IMAGES), encoder(IMAGES)) < TOLERANCE
    maps = fast.forward_map(IMAGES)
    assert _error(maps, encoder.forward_map(IMAGES)) < TOLERANCE
    assert torch.equal(fast.pool(maps), encoder.pool(maps))


@torch.no_grad()
def test_bfloat16_changes_features_by_a_few_percent() -> None:
    encoder = _trained(create_encoder("resnet18"))
    fast = DeployedEncoder(encoder, dtype=torch.bfloat16)
    found = fast(IMAGES)
    assert found.dtype == torch.float32
    assert 0 < _error(found, encoder(IMAGES)) < 0.05


def test_no_f_g() -> None:
    fast = DeployedEncoder(create_encoder("none"), compiled=True)
    assert fast(IMAGES).shape == (8, 0)


@torch.no_grad()
def test_every_network_is_compiled_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch compiles a piece of code for eight shapes at most; networks of one class must not share them."""
    compiled, real = [], torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda method, **options: real(method, dynamic=False, backend=backend))
    torch._dynamo.reset()
    for number in range(12):
        encoder = create_encoder("small_focus").eval()
        images = torch.rand(1 + number, 3, 32, 32)
        fast = DeployedEncoder(encoder, compiled=True)
        torch.testing.assert_close(fast.forward_map(images), encoder.forward_map(images), rtol=1e-4, atol=1e-5)
    assert len(compiled) == 12


def test_without_a_compiler_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> object:
        raise RuntimeError("no C++ compiler was found\nand more")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(UserError, match=r"does not work here \(no C\+\+ compiler was found\); install"):
        check_compiler(torch.device("cpu"))


def test_on_a_cpu_nothing_is_captured() -> None:
    call = CapturedCall(lambda x: 2 * x, device=torch.device("cpu"), agree=torch.equal)
    x = torch.ones(2)
    assert torch.equal(call(x), 2 * x)
    assert not call._graphs


@pytest.mark.gpu
def test_a_graph_for_each_shape_and_none_for_what_waits(cuda: torch.device) -> None:
    call = CapturedCall(lambda x: x.relu() + 1, device=cuda, agree=torch.equal)
    for count in (3, 5, 3):
        x = torch.randn(count, 4, device=cuda)
        assert torch.equal(call(x), x.relu() + 1)
    first, second = call(torch.zeros(3, 4, device=cuda)), call(torch.ones(3, 4, device=cuda))
    assert torch.equal(first + 1, second)
    assert [captured is not None for captured in call._graphs.values()] == [True, True]
    waits = CapturedCall(lambda x: x * float(x.sum()), device=cuda, agree=torch.equal)
    assert float(waits(torch.ones(2)).sum()) == 4
    assert [*waits._graphs.values()] == [None]


@pytest.mark.gpu
def test_after_a_capture_that_fails_everything_works(cuda: torch.device) -> None:
    x, stream = torch.ones(1000, device=cuda), torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        capture(lambda: x * float(x.sum()))
    assert torch.cuda.current_stream() == stream
    torch.manual_seed(0)
    first = torch.nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.equal(first, torch.nn.functional.dropout(x, 0.5))
    assert 0 < int((first == 0).sum()) < 1000
    assert last_warm_up(lambda: float(x.sum())) == (1000.0, True)
    assert not last_warm_up(lambda: x + 1)[1]
    graph, result = capture(lambda: x + 1)
    graph.replay()
    assert torch.equal(result, x + 1)


@pytest.mark.gpu
@pytest.mark.parametrize("tf32", [True, False])
def test_on_a_gpu_batch_norms_are_folded(cuda: torch.device, monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    fast = DeployedEncoder(_trained(create_encoder("resnet50")).to(cuda))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    assert {weight.device.type for weight in fast.parameters()} == {"cuda"}


@pytest.mark.gpu
@pytest.mark.filterwarnings("error")
def test_on_a_gpu_a_copy_of_f_c_has_its_weights_in_one_piece(cuda: torch.device) -> None:
    classifier = create_classifier("gru", input_dim=8, num_classes=3, hidden=4, dropout=0.0).to(cuda)
    x = torch.randn(2, 5, 8, device=cuda)
    assert torch.equal(copy.deepcopy(classifier)(x), classifier(x))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["small_focus", "mobilenet_v2", "resnet18"])
def test_on_a_gpu_features_are_equal_to_rounding(name: str, cuda: torch.device) -> None:
    encoder = _trained(create_encoder(name)).to(cuda)
    with torch.no_grad():
        assert _error(DeployedEncoder(encoder)(IMAGES.to(cuda)), encoder(IMAGES.to(cuda))) < 10 * TOLERANCE
