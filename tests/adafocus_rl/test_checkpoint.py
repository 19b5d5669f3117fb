from __future__ import annotations

import json
import math
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adafocus_rl.checkpoint import (
    FORMAT_VERSION,
    load,
    load_into,
    reading,
    save,
    tensors_hash,
)
from adafocus_rl.errors import UserError
from adafocus_rl.optimizer_state import optimizer_tensors, restore_optimizer
from adafocus_rl.rotation import CheckpointRotation


def test_tensors_and_manifest_come_back_exactly(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    tensors = {
        "weight": weight,
        "tied": weight[1:3],
        "half": torch.randn(3, dtype=torch.bfloat16),
        "count": torch.tensor(2**62),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 5),
        "learnt": nn.Parameter(torch.ones(2)),
        "state": torch.get_rng_state(),
    }
    manifest = {
        "epoch": 3,
        "best": 0.1 + 0.2,
        "name": "Größe",
        "list": [1, None, {"a": True}],
        "low": -float("inf"),
    }
    path = tmp_path / "new" / "a.safetensors"
    save(path, tensors=tensors, manifest=manifest)
    got, told = load(path)
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)
        assert not got[name].requires_grad
    assert told == {
        **manifest,
        "format": "adafocus_rl",
        "format_version": FORMAT_VERSION,
        "torch_version": str(torch.__version__),
    }
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_checkpoint(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = CheckpointRotation(tmp_path, "stage")
    old = rotation.save(1, {"x": torch.ones(2)}, {})

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(old, tensors={"x": torch.zeros(2)}, manifest={})
        with pytest.raises(KeyboardInterrupt):
            rotation.save(2, {"x": torch.zeros(2)}, {})
    assert rotation.latest() == old
    assert torch.equal(load(old)[0]["x"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["stage.step00001.safetensors"]


def test_what_a_killed_process_left_is_not_a_checkpoint_and_is_overwritten(tmp_path: Path) -> None:
    rotation = CheckpointRotation(tmp_path, "stage")
    left = tmp_path / ".stage.step00007.safetensors.part"
    left.write_bytes(b"half of a ")
    assert rotation.latest() is None
    path = rotation.save(7, {"x": torch.ones(1)}, {})
    assert rotation.latest() == path
    assert not left.exists()


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError, match=r"does not exist; give"):
            load(path)


class Bomb:
    """Unpickling this object touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    fuse, path = tmp_path / "fuse", tmp_path / "bomb.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(fuse))), lambda: torch.save(Bomb(fuse), path)):
        write()
        with pytest.raises(UserError, match="not a whole safetensors file"):
            load(path)
        assert not fuse.exists()


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors={"x": torch.ones(100)}, manifest={})
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not a whole safetensors file"):
            load(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"adafocus_rl_manifest": "not json"},
        {"adafocus_rl_manifest": "[1]"},
        {"adafocus_rl_manifest": json.dumps({"format": "other", "format_version": 1})},
    ],
)
def test_another_programs_safetensors_file_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.ones(1)}, path, metadata=metadata)
    with pytest.raises(UserError, match="has no adafocus_rl manifest"):
        load(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    manifest = json.dumps({"format": "adafocus_rl", "format_version": FORMAT_VERSION + 1})
    save_file({"x": torch.ones(1)}, path, metadata={"adafocus_rl_manifest": manifest})
    with pytest.raises(UserError, match=r"format version 3, but this adafocus_rl reads up to 2; upgrade"):
        load(path)


def test_a_manifest_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(tmp_path / "a.safetensors", tensors={}, manifest={"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_load_into_takes_the_names_under_its_prefix() -> None:
    source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    source(torch.randn(5, 3))
    tensors = {f"norm.{name}": value for name, value in source.state_dict().items()}
    load_into(target, {**tensors, "other.weight": torch.ones(9)}, prefix="norm.", what="x")
    assert tensors_hash(target) == tensors_hash(source)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"net.weight": torch.ones(2, 4)}, r"net\.weight has shape \(2, 4\), expected \(2, 3\)"),
        ({"net.weight": None}, r"it lacks net\.weight"),
        ({"net.extra": torch.ones(1)}, r"it has net\.extra, which this architecture lacks"),
    ],
)
def test_load_into_names_the_first_difference_and_changes_nothing(change: dict[str, Tensor | None], told: str) -> None:
    target = nn.Linear(3, 2)
    before = tensors_hash(target)
    given = {"net.weight": torch.ones(2, 3), "net.bias": torch.ones(2), **change}
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    with pytest.raises(UserError, match=rf"^checkpoint a\.x was made with another architecture: {told}; use"):
        load_into(target, tensors, prefix="net.", what="a.x")
    assert tensors_hash(target) == before


def groups_with_tensor_rates(params: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[:1], "lr": torch.tensor(0.2)}, {"params": params[1:]}]


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=3e-4, betas=(0.9, 0.999)),
    "adamw_amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "adam_tensor_lr": lambda p: torch.optim.Adam(groups_with_tensor_rates(p), lr=torch.tensor(0.1), foreach=False),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_resumes_exactly(name: str, tmp_path: Path) -> None:
    def parameters() -> list[nn.Parameter]:
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2))]

    def steps(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            for parameter in params[:2]:  # the last has no gradient, so it has no state
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    params = parameters()
    optimizer = OPTIMIZERS[name](params)
    steps(optimizer, params, seed=1)
    optimizer.param_groups[0]["lr"] *= 0.5  # as a schedule does
    tensors, plain = optimizer_tensors(optimizer)
    values = {f"model.{i}": parameter for i, parameter in enumerate(params)}
    save(tmp_path / "o.safetensors", tensors={**tensors, **values}, manifest={"optimizer": plain})

    loaded, manifest = load(tmp_path / "o.safetensors")
    resumed = parameters()
    for i, parameter in enumerate(resumed):
        parameter.data.copy_(loaded[f"model.{i}"])
    fresh = OPTIMIZERS[name](resumed)
    restore_optimizer(fresh, loaded, manifest["optimizer"])
    assert [{key: type(value) for key, value in group.items()} for group in fresh.param_groups] == [
        {key: type(value) for key, value in group.items()} for group in optimizer.param_groups
    ]
    stored = {key: value.clone() for key, value in loaded.items()}
    steps(optimizer, params, seed=2)
    steps(fresh, resumed, seed=2)
    for expected, got in zip(params, resumed, strict=True):
        assert torch.equal(got, expected)
    # The optimiser works on its own copy.
    assert all(torch.equal(stored[key], loaded[key]) for key in stored)


def test_the_implementation_of_a_step_is_the_optimiser_s_own() -> None:
    """A checkpoint of a GPU, or of an older version, names another one."""
    params = [nn.Parameter(torch.ones(2, 3))]
    params[0].grad = torch.ones_like(params[0])
    optimizer, fused = torch.optim.Adam(params), torch.optim.Adam(params, fused=True)
    optimizer.step()
    tensors, plain = optimizer_tensors(optimizer)
    plain["groups"][0]["capturable"] = True
    restore_optimizer(fused, tensors, plain)
    assert fused.param_groups[0]["fused"] is True
    assert fused.param_groups[0]["capturable"] is False
    fused.step()
    optimizer.step()
    assert float(fused.state[params[0]]["step"]) == float(optimizer.state[params[0]]["step"]) == 2


def test_another_optimizer_is_refused() -> None:
    params = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))]
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(params)
    optimizer.step()
    tensors, plain = optimizer_tensors(optimizer)
    with pytest.raises(UserError, match="optimiser Adam, but this run uses SGD"):
        restore_optimizer(torch.optim.SGD(params), tensors, plain)
    with pytest.raises(UserError, match=r"parameter groups of \[2\], but this run's are \[1\]"):
        restore_optimizer(torch.optim.Adam(params[:1]), tensors, plain)
    with pytest.raises(UserError, match=r"exp_avg of parameter 0 has shape \(2, 3\), expected \(3,\)"):
        restore_optimizer(torch.optim.Adam(params[::-1]), tensors, plain)


def test_tensors_hash_sees_names_values_shapes_and_dtypes_but_not_order_or_layout() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    digest = tensors_hash(base)
    assert digest == tensors_hash({"b": torch.zeros(2), "a": torch.arange(6.0).reshape(2, 3).t().contiguous().t()})
    changed = [
        {**base, "b": torch.tensor([0.0, -0.0])},
        {**base, "b": torch.zeros(2, dtype=torch.int32)},
        {**base, "b": torch.zeros(1, 2)},
        {"a": base["a"], "c": base["b"]},
        {**base, "c": torch.zeros(0)},
    ]
    digests = {digest, *(tensors_hash(other) for other in changed)}
    assert len(digests) == 1 + len(changed)
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in digests)
    linear = nn.Linear(2, 2)
    assert tensors_hash(linear) == tensors_hash(dict(linear.named_parameters()))
    assert tensors_hash({"h": torch.tensor(1.0, dtype=torch.bfloat16)}) == tensors_hash(
        {"h": torch.tensor(1.0).bfloat16()}
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".safetensors") for path in folder.iterdir())


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    rotation = CheckpointRotation(tmp_path / "c", "s2")
    other = CheckpointRotation(tmp_path / "c", "s")
    assert rotation.latest() is None
    other.save(1, {}, {})
    for step in range(3):
        path = rotation.save(step, {"x": torch.tensor(float(step))}, {"note": "n"})
        assert rotation.latest() == path
    assert names(tmp_path / "c") == ["s.step00001", "s2.step00002"]
    tensors, manifest = load(path)
    assert (float(tensors["x"]), manifest["step"], manifest["note"]) == (2.0, 2, "n")


def test_rotation_orders_steps_as_numbers_and_forgets_the_future_of_an_abandoned_run(tmp_path: Path) -> None:
    rotation = CheckpointRotation(tmp_path, "s")
    # Both are there where a process was killed between writing the one and removing the other.
    for step in (99_999, 100_000):
        save(tmp_path / f"s.step{step}.safetensors", tensors={}, manifest={})
    latest = rotation.latest()
    assert latest is not None
    assert latest.name == "s.step100000.safetensors"
    rotation.save(3, {}, {})
    assert names(tmp_path) == ["s.step00003"]


@pytest.mark.skipif(os.name == "nt", reason="has no such permissions")
def test_a_checkpoint_can_be_read_by_whom_other_files_can(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").touch()
    save(tmp_path / "a.safetensors", tensors={"a": torch.zeros(1)}, manifest={})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors={"ä": torch.randn(3, 2), "n": torch.arange(2)}, manifest={"kind": "x", "names": ["ц"]})
    whole = path.read_bytes()
    load(path)
    for bit in random.Random(0).sample(range(8 * len(whole)), 500):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=str(path)):
            load(path)


def test_a_checkpoint_of_the_version_without_checksums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    manifest = {"kind": "x", "format": "adafocus_rl", "format_version": 1, "torch_version": "2.6"}
    save_file({"x": torch.ones(2)}, path, metadata={"adafocus_rl_manifest": json.dumps(manifest)})
    tensors, found = load(path)
    assert torch.equal(tensors["x"], torch.ones(2))
    assert found == manifest
    # Nothing can pretend to be old that is not.
    new = json.dumps({**manifest, "format_version": 2})
    save_file({"x": torch.ones(2)}, path, metadata={"adafocus_rl_manifest": new})
    with pytest.raises(UserError, match="does not have the checksum"):
        load(path)


def _header(content: bytes, *, claimed: int | None = None) -> bytes:
    return (len(content) if claimed is None else claimed).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "data",
    [
        _header(b"{}", claimed=10 << 30),
        _header(b"{}", claimed=2**64 - 1),
        _header(b"[" * 50_000),
        _header(b"null"),
        _header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16000000000]}}'),
        _header(b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}') + bytes(16),
        _header(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}') + bytes(16),
        _header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
        _header(b'{"a":{"dtype":"object","shape":[1],"data_offsets":[0,8]}}') + bytes(8),
        _header(b'{"__metadata__":{"adafocus_rl_manifest":' + json.dumps("[" * 50_000).encode() + b"}}"),
        _header(b'{"__metadata__":{"adafocus_rl_manifest":' + json.dumps("9" * 5000).encode() + b"}}"),
        _header(b'{"__metadata__":{"adafocus_rl_manifest":7}}'),
    ],
)
def test_hostile_headers_are_sentences(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be used: it"):
        load(path)


@pytest.mark.parametrize("version", [None, "2", 2.0, True, [], {}])
def test_a_format_version_that_is_no_number_is_refused(version: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    manifest = json.dumps({"format": "adafocus_rl", "format_version": version})
    save_file({}, path, metadata={"adafocus_rl_manifest": manifest})
    with pytest.raises(UserError, match="has no adafocus_rl manifest"):
        load(path)


def test_a_manifest_that_lacks_what_is_expected_is_the_file_s_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x cannot be used: its manifest .*KeyError: 'step'"), reading("x"):
        int({}["step"])
    with pytest.raises(UserError, match=r"^own$"), reading("x"):
        raise UserError("own")


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, full_after: Any) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors={"x": torch.ones(9)}, manifest={})
    with full_after(20_000), pytest.raises(OSError, match="too large") as caught:
        save(path, tensors={"x": torch.ones(9999)}, manifest={})
    assert caught.value.filename == str(path)
    assert load(path)[0]["x"].shape == (9,)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", [{"momentum": "x"}, {"lr": None}, {"lr": math.inf}, {"nesterov": 3}, {"lr": True}])
def test_settings_of_an_optimiser_have_their_kinds(change: dict[str, Any]) -> None:
    parameters = [nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    tensors, plain = optimizer_tensors(optimizer)
    plain = json.loads(json.dumps(plain))
    restore_optimizer(optimizer, tensors, plain)
    plain["groups"][0] |= change
    with pytest.raises(UserError, match="expected something like"):
        restore_optimizer(optimizer, tensors, plain)
