"""Temporal shift against plain loops, and where the networks have it."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from adafocus_rl.models.encoders import create_encoder
from adafocus_rl.models.temporal_shift import ShiftedConv2d, temporal_shift


@pytest.mark.parametrize(("clips", "num_frames", "channels"), [(1, 1, 8), (2, 3, 16), (3, 8, 24), (2, 4, 20)])
def test_shift_is_a_plain_loop_over_frames_and_channels(clips: int, num_frames: int, channels: int) -> None:
    x = torch.randn(clips * num_frames, channels, 2, 3)
    expected = torch.zeros_like(x)
    for clip in range(clips):
        for frame in range(num_frames):
            for channel in range(channels):
                of = frame + 1 if channel < channels // 8 else frame - 1 if channel < 2 * (channels // 8) else frame
                if 0 <= of < num_frames:
                    expected[clip * num_frames + frame, channel] = x[clip * num_frames + of, channel]
    assert torch.equal(temporal_shift(x, num_frames), expected)


def test_gradients_go_back_to_where_values_came_from() -> None:
    x = torch.randn(6, 16, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, 3), x)


def test_memory_stays_channels_last() -> None:
    x = torch.randn(4, 16, 3, 3).contiguous(memory_format=torch.channels_last)
    assert temporal_shift(x, 2).is_contiguous(memory_format=torch.channels_last)


def test_frames_that_are_no_whole_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="7 frames are no whole clips of 3"):
        temporal_shift(torch.zeros(7, 8, 1, 1), 3)


class _Wrapped(nn.Module):
    """The public TSM code's way: a module around the convolution, its weight one name deeper."""

    def __init__(self, net: nn.Module, num_frames: int) -> None:
        super().__init__()
        self.net = net
        self.num_frames = num_frames

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clips = x.view(-1, self.num_frames, *x.shape[1:])
        fold = x.shape[1] // 8
        out = [
            F.pad(clips[:, 1:, :fold], (0, 0, 0, 0, 0, 0, 0, 1)),
            F.pad(clips[:, :-1, fold : 2 * fold], (0, 0, 0, 0, 0, 0, 1, 0)),
            clips[:, :, 2 * fold :],
        ]
        result: torch.Tensor = self.net(torch.cat(out, dim=2).flatten(0, 1))
        return result


@pytest.mark.parametrize(("name", "shifted"), [("mobilenet_v2", 10), ("resnet18", 8), ("resnet50", 16)])
def test_networks_are_torchvisions_with_the_shift_where_tsm_has_it(name: str, shifted: int) -> None:
    encoder = create_encoder(f"tsm_{name}")
    encoder.set_num_frames(3)
    assert sum(isinstance(module, ShiftedConv2d) for module in encoder.modules()) == shifted
    reference = torchvision.models.get_model(name)
    own = {key.removeprefix("net."): value for key, value in encoder.state_dict().items()}
    left_out = reference.load_state_dict(own, strict=False)
    assert not left_out.unexpected_keys
    assert all(key.startswith(("classifier.", "fc.")) for key in left_out.missing_keys)
    if name == "mobilenet_v2":
        # Blocks with an identity; each of them has an expansion, too.
        for block in reference.features[1:18]:
            if block.use_res_connect:
                block.conv[0][0] = _Wrapped(block.conv[0][0], 3)
        reference.classifier = nn.Identity()
    else:
        for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            for block in layer:
                block.conv1 = _Wrapped(block.conv1, 3)
        reference.fc = nn.Identity()
    encoder, reference = encoder.double().eval(), reference.double().eval()
    x = torch.randn(6, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), reference(x))


def test_no_frame_of_another_clip_is_looked_at() -> None:
    encoder = create_encoder("tsm_resnet18").eval()
    encoder.set_num_frames(2)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        both, alone = encoder(x), encoder(x[2:])
        torch.testing.assert_close(both[2:], alone)
        x[3] += 1
        assert not torch.allclose(encoder(x)[2], both[2])
