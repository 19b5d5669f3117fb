import pytest
import torch
import torchvision

from adafocus_rl.errors import UserError
from adafocus_rl.models.encoders import ENCODERS, Encoder, create_encoder

TORCHVISION = ["mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet101"]
DIMS = {"mobilenet_v2": 1280, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048}


@pytest.mark.parametrize(
    ("name", "side", "places", "pooled"),
    [("small_glance", 8, 4, 2.0), ("small_glance", 15, 8, 2.0), ("small_focus", 32, 2, 0.5)],
)
def test_small_encoders_give_the_promised_maps(name: str, side: int, places: int, pooled: float) -> None:
    encoder = create_encoder(name).eval()
    maps = encoder.forward_map(torch.randn(2, 3, side, side))
    assert maps.shape == (2, encoder.map_channels, places, places)
    # One response of 2: f_G takes the largest of all places, f_L the mean.
    maps = torch.zeros(2, encoder.vector_dim, places, places)
    maps[0, 3, 1, 0] = 2
    vectors = encoder.pool(maps)
    assert vectors[0, 3] == vectors.sum() == pooled


@pytest.mark.parametrize("name", TORCHVISION)
def test_vectors_are_what_torchvision_feeds_its_own_classifier(name: str) -> None:
    encoder = create_encoder(name).eval()
    reference = torchvision.models.get_model(name, num_classes=3).eval()
    head = "classifier" if name == "mobilenet_v2" else "fc"
    # The same names under one prefix, the classifier left out.
    own = {key.removeprefix("net."): value for key, value in encoder.state_dict().items()}
    assert set(own) == {key for key in reference.state_dict() if not key.startswith(head)}
    reference.load_state_dict(own, strict=False)
    setattr(reference, head, torch.nn.Identity())

    # In float64: the vectors of an untrained ResNet-101 span many orders of magnitude.
    encoder, reference = encoder.double(), reference.double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        vectors = encoder(x)
        maps = encoder.forward_map(x)
        expected = reference(x)
    assert vectors.shape == (1, DIMS[name]) == (1, encoder.vector_dim)
    assert maps.shape == (1, encoder.map_channels, 2, 2)
    torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize("name", ["small_focus", "resnet18"])
def test_memory_is_channels_last_whatever_comes_in(name: str) -> None:
    encoder = create_encoder(name)
    kernels = [p for p in encoder.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    maps = encoder.forward_map(torch.randn(2, 3, 64, 64))
    assert maps.is_contiguous(memory_format=torch.channels_last)


def test_weights_none_follow_the_global_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(create_encoder("small_focus").parameters()).detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_double_precision_stays_double() -> None:
    encoder = create_encoder("small_focus").double().eval()
    assert encoder(torch.randn(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_a_near_miss_in_a_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="did you mean 'mobilenet_v2'"):
        create_encoder("mobilenetv2")


def test_all_names_are_registered_and_a_base_class_cannot_be_made() -> None:
    assert {"small_glance", "small_focus", *TORCHVISION} <= set(ENCODERS.names())
    with pytest.raises(TypeError, match="forward_map"):
        Encoder()  # type: ignore[abstract]
