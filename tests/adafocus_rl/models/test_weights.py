import copy
import os
import urllib.error
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.models.encoders import create_encoder
from adafocus_rl.models.official_files import load_untrusted
from adafocus_rl.models.weights import read_weights_file

OPTION = "model.glance.weights"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """What a published ResNet-18 file holds: torchvision's names, the classifier included."""
    torch.manual_seed(0)
    return {key: value.clone() for key, value in torchvision.models.resnet18().state_dict().items()}


def load(path: Path | str, name: str = "resnet18") -> dict[str, Tensor]:
    state: dict[str, Tensor] = create_encoder(name, weights=str(path), option=OPTION).state_dict()
    return state


def assert_backbone(state: dict[str, Tensor], published: dict[str, Tensor], tolerance: float = 0.0) -> None:
    for key, value in state.items():
        torch.testing.assert_close(value, published[key.removeprefix("net.")], rtol=tolerance, atol=tolerance)


def test_safetensors_with_torchvision_names(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file(published, tmp_path / "w.safetensors")
    assert_backbone(load(tmp_path / "w.safetensors"), published)


def test_half_precision_is_cast_and_missing_batch_counts_are_let_pass(
    tmp_path: Path, published: dict[str, Tensor]
) -> None:
    half = {key: value.half() for key, value in published.items() if not key.endswith("num_batches_tracked")}
    save_file(half, tmp_path / "w.safetensors")
    state = load(tmp_path / "w.safetensors")
    assert state["net.conv1.weight"].dtype == torch.float32
    assert_backbone(state, published, tolerance=2e-3)


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "module.net."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_pickled_state_dicts_of_plain_tensors(
    tmp_path: Path, published: dict[str, Tensor], prefix: str, wrapped: bool
) -> None:
    content: dict[str, Any] = {prefix + key: value for key, value in published.items()}
    torch.save({"epoch": 3, "state_dict": content} if wrapped else content, tmp_path / "w.pth")
    assert_backbone(load(tmp_path / "w.pth"), published)


def test_an_encoder_takes_back_its_own_state(tmp_path: Path) -> None:
    encoder = create_encoder("small_focus")
    torch.save(encoder.state_dict(), tmp_path / "own.pt")
    loaded = load(tmp_path / "own.pt", "small_focus")
    assert all(torch.equal(loaded[key], value) for key, value in encoder.state_dict().items())


def test_a_file_of_another_network_is_refused(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file(published, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"do not fit encoder resnet34: net\.layer1\.2.* is missing"):
        load(tmp_path / "w.safetensors", "resnet34")
    # ResNet-34 holds every name of ResNet-18, and more: it must not be taken for one.
    save_file(torchvision.models.resnet34().state_dict(), tmp_path / "w34.safetensors")
    with pytest.raises(UserError, match=r"net\.layer1\.2.* has no place with"):
        load(tmp_path / "w34.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:5].clone(), r"net\.conv1\.weight has shape \(5, 3, 7, 7\), expected \(64, 3, 7, 7\)"),
        (lambda t: torch.full_like(t, torch.inf), "not finite"),
        (lambda t: t.to(torch.int8), "expected floating point"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, published: dict[str, Tensor], change: Any, message: str) -> None:
    broken = copy.copy(published)
    broken["conv1.weight"] = change(broken["conv1.weight"])
    save_file(broken, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "w.safetensors")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trapped",)


def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Trap()}, "w.pth")
    with pytest.raises(UserError, match="could run code"):
        load("w.pth")
    assert not Path("trapped").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_garbage_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_text("this is a text file\n")
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        load(path)


def test_missing_files_unknown_kinds_and_other_content_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"does not exist; give the path of a file with --{OPTION}=FILE"):
        load(tmp_path / "nowhere.pth")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(UserError, match="unknown kind"):
        load(tmp_path / "w.h5")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        load(tmp_path / "list.pth")


def test_published_weights_by_name(monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor]) -> None:
    asked: list[tuple[str, Any]] = []

    def fetch(url: str, **options: Any) -> dict[str, Tensor]:
        asked.append((url, options["weights_only"]))
        return published

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    assert_backbone(load("IMAGENET1K_V1"), published)
    assert asked == [(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url, True)]


def test_without_a_network_the_file_to_bring_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> dict[str, Tensor]:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    file = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    with pytest.raises(UserError, match=rf"bring {file} here, and give --{OPTION}=FILE"):
        load("IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("name", "known"), [("small_glance", "one of none, or"), ("mobilenet_v2", "IMAGENET1K_V2, DEFAULT, or")]
)
def test_unknown_weights_are_answered_with_the_known_ones(name: str, known: str) -> None:
    with pytest.raises(UserError, match=f"no weights named 'IMAGENET22K'; expected .*{known}"):
        load("IMAGENET22K", name)


def test_a_compressed_file_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    torch.save({"a": torch.zeros(1 << 20)}, path)
    assert read_weights_file(path, option="x")["a"].shape == (1 << 20,)
    with zipfile.ZipFile(path) as whole:
        content = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
    for read in (lambda: read_weights_file(path, option="x"), lambda: load_untrusted(path)):
        with pytest.raises(UserError, match=r"bomb\.pth cannot be read") as caught:
            read()
        assert "it unpacks to" in str(caught.value.__cause__)


def test_a_file_in_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor]
) -> None:
    package = tmp_path / "some_weights"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    save_file(published, package / "data" / "w.safetensors")
    save_file(published, tmp_path / "outside.safetensors")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert_backbone(load("package:some_weights/data/w.safetensors"), published)
    for wrong, words in {
        "package:some_weights/x.safetensors": "the package some_weights has no file 'x.safetensors'",
        "package:some_weights/../outside.safetensors": "has no file",
        "package:no_weights/w.safetensors": "no package 'no_weights' is installed",
        "package:some_weights.data/w.safetensors": "no package 'some_weights.data' is installed",
        "package:": "no package '' is installed",
    }.items():
        with pytest.raises(UserError, match=words):
            load(wrong)


def test_an_empty_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's log is an empty file whose readers wait."""
    reads: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *args, **options: reads.append(args))
    monkeypatch.setattr(zipfile, "is_zipfile", reads.append)
    (tmp_path / "log.pth").touch()
    with pytest.raises(UserError, match=r"log\.pth cannot be read"):
        load(tmp_path / "log.pth")
    with pytest.raises(UserError, match=r"log\.pth cannot be read"):
        load_untrusted(tmp_path / "log.pth")
    assert reads == []
