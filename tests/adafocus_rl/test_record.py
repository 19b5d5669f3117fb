"""Episode records: what is written is read, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES, EpisodeRecord, Trace


def make_trace(**changes: Any) -> Trace:
    draw = torch.Generator().manual_seed(1)
    values: dict[str, Any] = {
        "name": "ppo",
        "boxes": torch.randint(0, 20, (3, 2, 4), generator=draw),
        "kept": torch.tensor([[True, False]] * 3),
        "predicted": torch.tensor([[0, 1], [1, 1], [2, 0]]),
        "confidence": torch.rand(3, 2, generator=draw),
        "true_confidence": torch.rand(3, 2, generator=draw),
        # More than 32 bits hold.
        "macs": torch.full((3, 2), 7_000_000_000),
    }
    return Trace(**{**values, **changes})


def make_record(*traces: Trace) -> EpisodeRecord:
    return EpisodeRecord(
        split="val",
        videos=torch.tensor([4, 5, 9]),
        paths=["a.mp4", 'b "quoted" <script>.mp4', "ц/視頻.mp4"],
        multi_hot=torch.tensor([[True, False, False], [False, True, True], [False, False, True]]),
        true_boxes=torch.tensor([[[1.0, 2.0, 3.0, 4.0], [torch.nan] * 4]] * 3),
        frame_size=32,
        class_names=["x", "y", "<b>z</b>"],
        index_hash="0123",
        traces=list(traces),
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))
    return bool(a == b)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = make_trace(
        probabilities=torch.rand(3, 2, 9).half(), reward=torch.randn(3, 2), variant=FINE_TUNED, knob=0.25, patch_size=8,
        facts={"seed": 3},
    )  # fmt: skip
    written = make_record(make_trace(), full)
    written.save(tmp_path / "r.safetensors")
    read = EpisodeRecord.load(tmp_path / "r.safetensors")
    for field in dataclasses.fields(EpisodeRecord):
        if field.name != "traces":
            assert same(getattr(written, field.name), getattr(read, field.name)), field.name
    assert len(read.traces) == 2
    for before, after in zip(written.traces, read.traces, strict=True):
        for field in dataclasses.fields(Trace):
            assert same(getattr(before, field.name), getattr(after, field.name)), field.name


def test_only_records_of_several_scales_need_this_version(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    probabilities = torch.rand(3, 2, 18).half()
    scaled = make_trace(probabilities=probabilities, patch_size=8, patch_scales=(1.0, 1.5))
    for traces, version in (([make_trace()], 2), ([make_trace(), scaled], 3)):
        make_record(*traces).save(path)
        tensors, manifest = checkpoint.load(path)
        assert manifest["record_version"] == version
    assert EpisodeRecord.load(path).traces[1].patch_scales == (1.0, 1.5)
    for scales in ([], [0.0], ["1"], 1.5, [float("inf")]):
        manifest["traces"][1]["patch_scales"] = scales
        checkpoint.save(path, tensors=tensors, manifest=manifest)
        with pytest.raises(UserError):
            EpisodeRecord.load(path)


def test_right_is_any_true_class_at_the_last_frame() -> None:
    trace = make_trace()
    # Says 1 of a video of class 0; 1 of one of classes 1 and 2; 0 of one of class 2.
    assert make_record(trace).right(trace).tolist() == [False, True, False]


def test_the_last_variant_of_each_method_and_knob_is_found() -> None:
    first, last = {"variant": RANDOM_PATCHES}, {"variant": FINE_TUNED}
    traces = [
        make_trace(**first), make_trace(name="random", **first), make_trace(knob=0.1, **first),
        make_trace(knob=0.2, **first), make_trace(**last), make_trace(knob=0.1, **last), make_trace(name="alone"),
    ]  # fmt: skip
    found = make_record(*traces).last_traces()
    assert [trace.title for trace in found] == [
        "ppo, fine-tuned", "random, random patches", "ppo at 0.1, fine-tuned", "ppo at 0.2, random patches", "alone",
    ]  # fmt: skip


def test_version_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    make_record(make_trace(), make_trace(), make_trace(name="full_frame")).save(path)
    tensors, manifest = checkpoint.load(path)
    manifest["record_version"] = 1
    for trace, stage, price in zip(manifest["traces"], (2, 3, 3), (None, 0.25, None), strict=True):
        del trace["variant"], trace["knob"]
        trace |= {"after_stage": stage, "lambda": price}
    checkpoint.save(path, tensors=tensors, manifest=manifest)
    found = [(trace.name, trace.variant, trace.knob) for trace in EpisodeRecord.load(path).traces]
    assert found == [("ppo", RANDOM_PATCHES, None), ("ppo", FINE_TUNED, 0.25), ("full_frame", None, None)]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    checkpoint.save(path, tensors={}, manifest={"kind": "agent"})
    with pytest.raises(UserError, match="kind 'agent', not an episode record"):
        EpisodeRecord.load(path)
    make_record(make_trace()).save(path)
    tensors, manifest = checkpoint.load(path)
    checkpoint.save(path, tensors=tensors, manifest={**manifest, "record_version": 4})
    with pytest.raises(UserError, match=r"record version 4.*upgrade adafocus_rl"):
        EpisodeRecord.load(path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    make_record(make_trace()).save(path)
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 500):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=str(path)):
            EpisodeRecord.load(path)


@pytest.mark.parametrize("value", [None, [], {}, "x", 7, -1, 10**30, [[]], {"a": []}, True, [None], ["x"], [7]])
@pytest.mark.parametrize(
    "name", ["record_version", "split", "paths", "frame_size", "class_names", "index", "traces", "traces[0]", "name"]
)
def test_manifests_of_other_types_are_sentences(name: str, value: Any, tmp_path: Path) -> None:
    """Whatever is written there, with a checksum that is right: a record, or a sentence."""
    path = tmp_path / "r.safetensors"
    make_record(make_trace()).save(path)
    tensors, manifest = checkpoint.load(path)
    if name == "traces[0]":
        manifest["traces"] = [value]
    elif name == "name":
        manifest["traces"][0]["name"] = value
    else:
        manifest[name] = value
    checkpoint.save(path, tensors=tensors, manifest=manifest)
    if (name in ("split", "index", "name") and value == "x") or (name, value) == ("traces", []):
        EpisodeRecord.load(path)
    elif name != "frame_size" or value != 7:
        with pytest.raises(UserError, match=r"cannot be used: its manifest|record version"):
            EpisodeRecord.load(path)


@pytest.mark.parametrize("name", ["boxes", "kept", "predicted", "confidence", "true_confidence", "macs"])
def test_tensors_of_other_shapes_and_types_are_sentences(name: str, tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    make_record(make_trace()).save(path)
    tensors, manifest = checkpoint.load(path)
    key = f"0.{name}"
    for other in (tensors[key][:1], tensors[key].double(), torch.zeros(0), None):
        spoilt = {**tensors, key: other} if other is not None else {k: v for k, v in tensors.items() if k != key}
        checkpoint.save(path, tensors=spoilt, manifest=manifest)
        with pytest.raises(UserError, match="its manifest does not hold what was expected"):
            EpisodeRecord.load(path)


def test_a_class_that_is_none_is_refused(tmp_path: Path) -> None:
    make_record(make_trace(predicted=torch.full((3, 2), 3))).save(tmp_path / "r.safetensors")
    with pytest.raises(UserError, match="none of the 3"):
        EpisodeRecord.load(tmp_path / "r.safetensors")


names = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=50)
@given(data=st.data(), count=st.integers(1, 4), frames=st.integers(1, 4), classes=st.integers(1, 5))
def test_any_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int, frames: int, classes: int
) -> None:
    """Of any shape, with any names, and each optional tensor there or not."""
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    shape = (count, frames)

    def integers(low: int, high: int, *tail: int) -> torch.Tensor:
        return torch.randint(low, high, (*shape, *tail), generator=draw)

    optional = {
        "reward": torch.randn(shape, generator=draw), "sizes": integers(0, 300), "order": integers(-1, frames),
        "ran": integers(0, 2).bool(),
    }  # fmt: skip
    traces = [
        Trace(
            name=data.draw(names), boxes=integers(0, 2**31 - 1, 4), kept=integers(0, 2).bool(),
            predicted=integers(0, classes), confidence=torch.rand(shape, generator=draw),
            true_confidence=torch.rand(shape, generator=draw), macs=integers(0, 2**62),
            variant=data.draw(st.none() | names), knob=data.draw(st.none() | st.floats(-1e9, 1e9)),
            **{name: value for name, value in optional.items() if data.draw(st.booleans())},
        )
        for _ in range(data.draw(st.integers(0, 3)))
    ]  # fmt: skip
    written = EpisodeRecord(
        split="val", videos=torch.arange(count), paths=[data.draw(names) for _ in range(count)],
        multi_hot=torch.rand(count, classes, generator=draw) < 0.5,
        true_boxes=torch.full((*shape, 4), data.draw(st.floats(0, 9, width=32) | st.just(float("nan")))),
        frame_size=data.draw(st.integers(1, 999)), class_names=[data.draw(names) for _ in range(classes)],
        index_hash="", traces=traces,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("record") / "r.safetensors"
    written.save(path)
    read = EpisodeRecord.load(path)
    assert len(read) == count
    for before, after in [(written, read), *zip(traces, read.traces, strict=True)]:
        for field in dataclasses.fields(before):
            if field.name != "traces":
                assert same(getattr(before, field.name), getattr(after, field.name)), field.name
