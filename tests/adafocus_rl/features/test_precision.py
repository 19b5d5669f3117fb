"""Banks that are built in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.precision import in_precision, precision_errors
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")


def test_a_bank_in_bfloat16_is_close_to_that_in_float32_and_says_so(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: Callable[..., ClipDataset],
    make_recognizer: Callable[..., Recognizer],
) -> None:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    build_bank(tmp_path / "exact", recognizer, dataset, device=CPU)
    build_bank(tmp_path / "low", recognizer, dataset, device=CPU, precision="bfloat16")
    exact_manifests = expected_manifests(recognizer, dataset)
    low_manifests = expected_manifests(recognizer, dataset, precision="bfloat16")
    assert "precision" not in exact_manifests["local"]
    assert low_manifests["local"] == {**exact_manifests["local"], "precision": "bfloat16"}
    assert low_manifests["clips"] == exact_manifests["clips"]

    exact = FeatureBank(tmp_path / "exact", device=CPU, expected=exact_manifests)
    low = FeatureBank(tmp_path / "low", device=CPU, expected=low_manifests)
    for name in ("global_map", "global_vector", "local", "full"):
        expected, found = exact.table(name, exact.videos), low.table(name, low.videos)
        assert 0 < float((found - expected).norm() / expected.norm()) < 0.03, name
    with pytest.raises(UserError, match='stale: precision is "bfloat16" there and null now'):
        FeatureBank(tmp_path / "low", device=CPU, expected=exact_manifests)


def test_the_error_is_that_of_the_features(
    shared_list: Path, make_dataset: Callable[..., ClipDataset], make_recognizer: Callable[..., Recognizer]
) -> None:
    recognizer, dataset = make_recognizer().eval(), make_dataset(shared_list)
    clips = torch.as_tensor(dataset[0].clip)[None]
    errors = precision_errors(recognizer, clips, tables=DEFAULT_TABLES, precision="bfloat16")
    assert list(errors) == [table.name for table in DEFAULT_TABLES]
    assert errors["thumbnail"] == 0  # no network computes it
    assert 0 < errors["local"] < 0.03
    assert precision_errors(recognizer, clips, tables=DEFAULT_TABLES, precision="float32")["local"] == 0
    assert in_precision(recognizer, "float32") is recognizer
    assert next(recognizer.focus.parameters()).dtype == torch.float32
