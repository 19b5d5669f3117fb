import pytest
import torch
import torchvision
from torch import nn

from adafocus_rl.flops import Macs, classifier_macs, component_macs, macs, video_macs
from adafocus_rl.models import ClassifierConfig, EncoderConfig, ModelConfig, Recognizer, create_classifier

# GMACs per image with a classifier of 200 classes, in both conventions, as published.
PUBLISHED = [
    ("resnet50", 224, 4.0875, 4.1098),
    ("resnet50", 192, 3.0032, None),
    ("resnet50", 176, 2.6065, None),
    ("resnet50", 160, 2.0857, None),
    ("resnet50", 144, 1.7580, None),
    ("resnet50", 128, 1.3350, None),
    ("resnet50", 96, 0.7511, None),
    ("resnet101", 224, None, 7.832),
    ("resnet34", 168, None, 2.2489),
    ("resnet18", 112, None, 0.4862),
    ("mobilenet_v2", 224, 0.2998, 0.3131),
    ("mobilenet_v2", 84, None, 0.0527),
]


@pytest.mark.parametrize(("name", "side", "plain", "with_batch_norm"), PUBLISHED)
def test_published_costs_in_both_conventions(
    name: str, side: int, plain: float | None, with_batch_norm: float | None
) -> None:
    model = torchvision.models.get_model(name, num_classes=200)
    x = torch.zeros(1, 3, side, side)
    for expected, switch in ((plain, False), (with_batch_norm, True)):
        if expected is not None:
            counted = macs(model, x, with_batch_norm=switch, shapes_only=True)
            assert round(counted / 1e9, 3 if name == "resnet101" else 4) == expected
    assert model.training, "the model itself is left alone"


def test_shapes_are_enough_to_count() -> None:
    for model, x in (
        (torchvision.models.mobilenet_v2(num_classes=7), torch.zeros(2, 3, 64, 64)),
        (nn.GRU(20, 30, batch_first=True), torch.zeros(2, 5, 20)),
    ):
        for switch in (False, True):
            counted = macs(model, x, with_batch_norm=switch, shapes_only=True)
            assert counted == macs(model, x, with_batch_norm=switch)
    with pytest.raises(ValueError, match="only a module"):
        macs(lambda x: x, torch.zeros(1), shapes_only=True)


def test_closed_forms() -> None:
    assert macs(nn.Linear(7, 5), torch.zeros(3, 7)) == 3 * 7 * 5
    block = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    places = 2 * 8 * 5 * 5
    assert macs(block, torch.zeros(2, 3, 10, 10)) == places * 3 * 9
    assert macs(block, torch.zeros(2, 3, 10, 10), with_batch_norm=True) == places * 3 * 9 + 2 * places
    assert macs(lambda x: x @ x, torch.zeros(4, 4)) == 64


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(nn.GRU, 3), (nn.LSTM, 4)])
def test_a_recurrent_sequence_is_counted_step_by_step(kind: type[nn.RNNBase], gates: int, batch_first: bool) -> None:
    memory = kind(20, 30, batch_first=batch_first)
    assert macs(memory, torch.zeros(2, 5, 20), shapes_only=kind is nn.LSTM) == 2 * 5 * gates * (20 * 30 + 30 * 30)


def test_classifier_costs_one_step_and_its_logits() -> None:
    gru = create_classifier("gru", input_dim=20, num_classes=4, hidden=30, dropout=0.5)
    assert classifier_macs(gru) == 3 * (20 * 30 + 30 * 30) + 30 * 4
    average = create_classifier("average", input_dim=20, num_classes=4, hidden=30, dropout=0.5)
    assert classifier_macs(average) == 20 * 4
    pooling = create_classifier("max_pool", input_dim=20, num_classes=4, hidden=30, dropout=0.5)
    assert classifier_macs(pooling) == 20 * 30 + 30 * 4
    assert classifier_macs(pooling, with_batch_norm=True) == 20 * 30 + 30 * 4 + 2 * 30


def test_components_by_hand_and_untouched() -> None:
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"),
        focus=EncoderConfig(name="small_focus"),
        classifier=ClassifierConfig(hidden=16),
        frame_size=64,
        glance_size=24,
        patch_size=32,
        num_classes=3,
    )
    recognizer = Recognizer(config).double().train()
    glance, focus = recognizer.glance, recognizer.focus

    def stack(module: nn.Module, side: int) -> tuple[int, int]:
        convolutions, elements = 0, 0
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                side = (side + 2 - 3) // layer.stride[0] + 1
                convolutions += layer.weight.numel() * side * side
                elements += layer.out_channels * side * side
        return convolutions, elements

    step = 3 * ((glance.vector_dim + focus.vector_dim) * 16 + 16 * 16) + 16 * 3
    assert component_macs(recognizer) == Macs(
        glance=stack(glance, 24)[0],
        focus_patch=stack(focus, 32)[0],
        focus_full=stack(focus, 64)[0],
        classifier=step,
    )
    convolutions, elements = stack(focus, 32)
    assert component_macs(recognizer, with_batch_norm=True).focus_patch == convolutions + 2 * elements
    assert recognizer.training
    assert next(recognizer.parameters()).dtype == torch.float64


def test_a_video_adds_up() -> None:
    costs = Macs(glance=1000, focus_patch=200, focus_full=5000, classifier=30)
    patch = video_macs(costs, num_steps=16, policy_macs=4, uses_patch=True, uses_full=False)
    assert patch == {"total": 16 * 1234, "local": 16 * 200}
    full = video_macs(costs, num_steps=2, policy_macs=0, uses_patch=False, uses_full=True, uses_glance=False)
    assert full == {"total": 2 * 5030, "local": 2 * 5000}


def test_a_plain_function_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="counted on CPU"):
        macs(lambda x: x, torch.zeros(1, device="meta"))
