from __future__ import annotations

import pytest

from adafocus_rl.data.class_names import plain
from adafocus_rl.suggestions import nearest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("gama", ["gamma", "hidden"], "gamma"),
        ("resnet50", ["ResNet50", "resnet18"], "ResNet50"),
        ("x", ["gamma"], None),
        ("x", [], None),
        # What is written first goes before what differs in capital letters only.
        ("RUNS", ["Run", "run"], "Run"),
    ],
)
def test_the_nearest_name_as_it_is_written(name: str, known: list[str], expected: str | None) -> None:
    assert nearest(name, known) == expected


def test_how_near_a_name_must_be() -> None:
    assert nearest("PPO", ["PPOAgent"]) is None
    assert nearest("PPO", ["PPOAgent"], alike=0.5) == "PPOAgent"


def test_a_name_of_a_class_is_suggested_as_its_file_has_it() -> None:
    assert nearest("openin something", ["Opening [something]"], key=plain) == "Opening [something]"
