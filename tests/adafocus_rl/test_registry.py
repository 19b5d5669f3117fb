from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from adafocus_rl.errors import UserError
from adafocus_rl.registry import Registry

GROUP = "adafocus_rl.test_things"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed third-party distribution with one good and two broken entry points."""
    package = tmp_path / "thing_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("VALUE = 42\n")
    (package / "broken.py").write_text("import a_module_that_nobody_has\n")
    info = tmp_path / "thing_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nbroken = thing_plugin.broken:VALUE\nplugged = thing_plugin:VALUE\nours = thing_plugin:VALUE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_register_returns_the_entry_itself_and_lists_names_sorted() -> None:
    things: Registry[type] = Registry("thing")

    @things.register("zebra")
    class Zebra:
        pass

    things.register("ant")(int)
    assert things.get("zebra") is Zebra
    assert things.names() == list(things) == ["ant", "zebra"]
    assert len(things) == 2
    assert "ant" in things
    assert "bee" not in things


def test_a_second_entry_of_one_name_is_refused_but_the_same_one_may_come_again() -> None:
    things: Registry[type] = Registry("thing")
    things.register("a")(int)
    things.register("a")(int)
    with pytest.raises(ValueError, match="thing 'a' is registered twice"):
        things.register("a")(float)
    assert things.get("a") is int


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [("mobilnet_v2", "mobilenet_v2"), ("ResNet50", "resnet50"), ("randomagent", "RandomAgent")],
)
def test_a_near_miss_gets_a_suggestion(given: str, suggestion: str) -> None:
    things: Registry[int] = Registry("encoder")
    for index, name in enumerate(("mobilenet_v2", "resnet50", "RandomAgent")):
        things.register(name)(index)
    with pytest.raises(UserError) as caught:
        things.get(given)
    assert str(caught.value) == (
        f"unknown encoder '{given}'; did you mean '{suggestion}'? Choose one of: RandomAgent, mobilenet_v2, resnet50"
    )


def test_a_far_miss_gets_the_list_only() -> None:
    things: Registry[int] = Registry("encoder")
    with pytest.raises(UserError, match=r"^unknown encoder 'x'\. Choose one of: none is registered$"):
        things.get("x")
    things.register("resnet50")(0)
    with pytest.raises(UserError, match=r"^unknown encoder 'qqq'\. Choose one of: resnet50$"):
        things.get("qqq")


def test_entry_points_are_loaded_at_the_first_look_and_a_broken_one_is_named_and_skipped(
    plugins: Path,
) -> None:
    things: Registry[int] = Registry("thing", GROUP)
    things.register("ours")(7)
    assert things.get("ours") == 7
    assert "thing_plugin" not in sys.modules
    with pytest.warns(RuntimeWarning) as caught:
        assert things.get("plugged") == 42
    messages = sorted(str(warning.message) for warning in caught)
    assert len(messages) == 2
    assert messages[0].startswith("thing 'broken' (thing_plugin.broken:VALUE) of thing-plugin is left out")
    assert "ModuleNotFoundError" in messages[0]
    assert "a_module_that_nobody_has" in messages[0]
    assert messages[1].startswith("thing 'ours' (thing_plugin:VALUE) of thing-plugin is left out")
    assert things.get("ours") == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert things.names() == ["ours", "plugged"]


def test_a_built_in_entry_is_imported_at_its_first_use(plugins: Path) -> None:
    things: Registry[int] = Registry("thing", None, {"late": "thing_plugin:VALUE"})
    sys.modules.pop("thing_plugin", None)
    assert things.names() == ["late"]
    assert "late" in things
    with pytest.raises(UserError, match=r"unknown thing 'lat'; did you mean 'late'\?"):
        things.get("lat")
    assert "thing_plugin" not in sys.modules
    assert things.get("late") == 42


def test_a_plugin_cannot_take_the_name_of_a_built_in_entry(plugins: Path) -> None:
    things: Registry[object] = Registry("thing", GROUP, {"ours": "builtins:int"})
    with pytest.warns(RuntimeWarning, match=r"thing 'ours' .* is left out.* is registered twice"):
        assert "plugged" in things.names()
    assert things.get("ours") is int
