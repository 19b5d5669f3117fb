import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.models import (
    ClassifierConfig,
    EncoderConfig,
    ModelConfig,
    Recognizer,
    load_recognizer,
    restore_recognizer,
    save_recognizer,
)

CONFIG = ModelConfig(
    glance=EncoderConfig(name="small_glance"),
    focus=EncoderConfig(name="small_focus"),
    classifier=ClassifierConfig(hidden=16),
    frame_size=48,
    glance_size=24,
    patch_size=16,
    grid=5,
    num_classes=3,
)


@pytest.fixture
def recognizer() -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(CONFIG).eval()


def test_prepare_is_the_published_normalisation(recognizer: Recognizer) -> None:
    clips = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    mean, std = torch.tensor(CONFIG.mean)[:, None, None], torch.tensor(CONFIG.std)[:, None, None]
    torch.testing.assert_close(recognizer.prepare(clips), (clips / 255 - mean) / std)
    normalised = torch.randn(2, 3, 4, 4)
    assert torch.equal(recognizer.prepare(normalised), normalised)
    assert recognizer.double().prepare(clips).dtype == torch.float64
    with pytest.raises(ValueError, match="int64"):
        recognizer.prepare(clips.long())


def test_features_have_the_shapes_that_the_classifier_takes(recognizer: Recognizer) -> None:
    frames = torch.randn(4, 3, 48, 48)
    maps, glance = recognizer.glance_features(frames)
    origin = recognizer.grid.action_origin(torch.tensor([0, 7, 12, 24]))
    patches = recognizer.grid.crop(frames, origin)
    local = recognizer.focus_features(patches)
    full = recognizer.full_features(frames)
    assert recognizer.num_actions == 25
    assert maps.shape == (4, recognizer.glance.map_channels, 12, 12)
    assert local.shape == full.shape == (4, recognizer.focus.vector_dim)
    torch.testing.assert_close(glance, maps.amax(dim=(2, 3)))
    logits = recognizer.classifier(torch.cat((glance, local), dim=-1)[None])
    assert logits.shape == (1, 4, 3)


def test_glance_is_resized_with_antialiasing_by_the_same_factor_for_frames_of_every_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seen from afar, a checkerboard of single pixels is grey; every third pixel of it is black or white.
    recognizer = Recognizer(replace(CONFIG, glance_size=16)).eval()
    board = (torch.arange(48)[:, None] + torch.arange(48)) % 2
    frames = board.float().expand(1, 3, 48, 48)
    seen: list[torch.Tensor] = []
    original = recognizer.glance.forward_map

    def spy(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return original(x)

    monkeypatch.setattr(recognizer.glance, "forward_map", spy)
    recognizer.glance_features(frames)
    assert seen[-1].shape == (1, 3, 16, 16)
    # Away from the edges, where the filter is cut off.
    torch.testing.assert_close(seen[-1][..., 2:-2, 2:-2], torch.full((1, 3, 12, 12), 0.5), atol=0.01, rtol=0)
    recognizer.glance_features(torch.rand(1, 3, 24, 24))
    assert seen[-1].shape == (1, 3, 8, 8)
    whole = Recognizer(replace(CONFIG, glance_size=48)).eval()
    monkeypatch.setattr(whole.glance, "forward_map", spy)
    whole.glance_features(frames)
    assert seen[-1] is frames


def test_bfloat16_runs_through(recognizer: Recognizer) -> None:
    recognizer.bfloat16()
    frames = recognizer.prepare(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))
    assert recognizer.glance_features(frames)[1].dtype == torch.bfloat16


def test_frozen_parts_stay_in_evaluation_mode_and_everything_is_put_back(recognizer: Recognizer) -> None:
    recognizer.train()
    fixed = next(recognizer.classifier.parameters()).requires_grad_(False)
    dropout = recognizer.classifier.get_submodule("dropout").eval()
    statistics = {name: value.clone() for name, value in recognizer.glance.named_buffers()}
    with recognizer.freeze("glance", "classifier"):
        with recognizer.freeze("focus"):
            assert not any(parameter.requires_grad for parameter in recognizer.parameters())
        recognizer.train()
        frames = torch.randn(2, 3, 48, 48)
        torch.autograd.backward(recognizer.focus_features(frames).sum())
        recognizer.glance_features(frames)
        assert recognizer.focus.training
        assert not any(module.training for module in recognizer.glance.modules())
        assert not any(parameter.requires_grad for parameter in recognizer.glance.parameters())
        assert all(parameter.grad is not None for parameter in recognizer.focus.parameters())
    assert all(torch.equal(value, statistics[name]) for name, value in recognizer.glance.named_buffers())
    assert all(module.training for module in recognizer.glance.modules())
    assert all(parameter.requires_grad for parameter in recognizer.glance.parameters())
    assert not fixed.requires_grad
    assert not dropout.training
    recognizer.train()
    assert recognizer.glance.training


def test_freeze_puts_back_after_an_error_and_knows_its_parts(recognizer: Recognizer) -> None:
    recognizer.train()
    with pytest.raises(RuntimeError, match="boom"), recognizer.freeze("focus"):
        raise RuntimeError("boom")
    assert recognizer.focus.training
    with pytest.raises(ValueError, match="unknown parts"), recognizer.freeze("policy"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 0}, "model.num_classes is 0"),
        ({"patch_size": 49}, "patch_size 49"),
        ({"glance": EncoderConfig(name="small_glanc")}, "did you mean 'small_glance'"),
        ({"focus": EncoderConfig(name="resnet18", weights="V9")}, "--model.focus.weights=FILE"),
    ],
)
def test_impossible_configurations_are_the_users_to_mend(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recognizer(replace(CONFIG, **change))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (ModelConfig, {"glance_size": 0}, "^glance_size is 0; give at least 1$"),
        (ModelConfig, {"std": (0.2, 0.0, 0.2)}, "^std is"),
        (ClassifierConfig, {"dropout": 1.0}, "^dropout is 1.0"),
        (ClassifierConfig, {"hidden": 0}, "^hidden is 0"),
        (EncoderConfig, {"name": "small_glance", "num_frames": 0}, "^num_frames is 0; give at least 1$"),
    ],
)
def test_configurations_check_their_own_ranges(kind: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**change)


def test_a_saved_recognizer_comes_back_whole(recognizer: Recognizer, tmp_path: Path) -> None:
    recognizer.train().focus_features(torch.randn(8, 3, 16, 16))  # moves the batch statistics
    recognizer.eval()
    path = tmp_path / "r.safetensors"
    save_recognizer(path, recognizer, manifest={"stage": 1})
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    loaded, tensors, manifest = load_recognizer(path)
    assert torch.equal(torch.rand(1), expected), "loading must not advance the global generator"
    assert loaded.config == CONFIG
    assert not loaded.training
    assert manifest["stage"] == 1
    assert set(tensors) == {f"recognizer.{name}" for name in recognizer.state_dict()}
    frames = torch.randn(2, 3, 48, 48)
    assert torch.equal(loaded.glance_features(frames)[0], recognizer.glance_features(frames)[0])
    assert torch.equal(loaded.focus_features(frames), recognizer.focus_features(frames))
    assert json.loads(json.dumps(recognizer.signature())) == recognizer.signature()


def test_a_checkpoint_of_another_architecture_is_refused_by_its_first_difference(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    path = tmp_path / "r.safetensors"
    save_recognizer(path, recognizer)
    tensors, manifest = checkpoint.load(path)
    other = Recognizer(replace(CONFIG, focus=EncoderConfig(name="small_glance")))
    with pytest.raises(UserError, match="another architecture: focus is 'small_focus' there and 'small_glance' here"):
        restore_recognizer(other, tensors, manifest, what=str(path))
    with pytest.raises(UserError, match="patch_size is 16 there and 24 here"):
        restore_recognizer(Recognizer(replace(CONFIG, patch_size=24)), tensors, manifest, what=str(path))


def test_a_checkpoint_without_a_recognizer_is_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "agent.safetensors"
    checkpoint.save(path, tensors={"policy.weight": torch.zeros(1)}, manifest={"agent": "ppo"})
    with pytest.raises(UserError, match="holds no recognizer"):
        load_recognizer(path)
    with pytest.raises(UserError, match="holds no recognizer"):
        restore_recognizer(recognizer, *checkpoint.load(path), what=str(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": 3}, "holds no recognizer"),
        ({"model": {}}, "manifest does not hold what was expected"),
        ({"glance": {"name": {"x": 1}}}, "model.glance.name is {'x': 1}; expected text"),
        ({"classifier": {"name": 0.5}}, "model.classifier.name is 0.5; expected"),
        ({"num_classes": "many"}, "model.num_classes is many; expected a whole number"),
        ({"mean": 3}, "model.mean is 3; expected a list of 3"),
        ({"classifier": {"name": "gru", "hidden": 100}}, "another architecture"),
        ({"classifier": {"name": "gru", "hidden": 10**5}}, "model.classifier.hidden is 100000; give at most"),
        ({"x": 1}, "unknown key 'model.x'"),
        ({"grid": -1}, "cannot be made here: "),
        ({"focus": {"name": "small_focus", "num_frames": 1}}, "cannot be made here: model.glance.num_frames is None"),
    ],
)
def test_a_hostile_manifest_is_one_sentence_that_names_the_file(
    recognizer: Recognizer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_recognizer(path, recognizer)
    tensors, manifest = checkpoint.load(path)
    model = change["model"] if "model" in change else {**manifest["model"], **change}
    checkpoint.save(path, tensors=tensors, manifest={**manifest, "model": model})
    with pytest.raises(UserError) as caught:
        load_recognizer(path)
    assert said in str(caught.value)
    assert path.name in str(caught.value)
