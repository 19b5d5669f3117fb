"""The repository itself: imports go down, packages are declared and pinned, a built wheel works elsewhere."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
# From the lowest layer up; folder at the top of the repository and the name it is imported by.
LAYERS = {
    "adafocus_rl": "adafocus_rl",
    "envs": "adafocus_rl.envs",
    "agents": "adafocus_rl.agents",
    "experiments": "adafocus_rl.experiments",
}


DOORS = ("adafocus_rl/__init__.py", "adafocus_rl/__main__.py")
"""The entry points of the whole, which lead to every layer."""


def sources(folder: str) -> list[Path]:
    """The Python files of one of the four folders; links to other folders are not followed."""
    found = []
    for path, folders, names in os.walk(ROOT / folder):
        folders[:] = sorted(name for name in folders if not (Path(path) / name).is_symlink())
        found += [Path(path) / name for name in sorted(names) if name.endswith(".py")]
    return found


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def layer_of(module: str) -> str:
    """The folder that a module of ours belongs to."""
    upper = [folder for folder, name in LAYERS.items() if f"{module}.".startswith(f"{name}.")]
    return upper[-1]


def imported_modules(source: str) -> list[tuple[int, str]]:
    """(line, module) of each import statement, those inside functions and under TYPE_CHECKING included.

    ``from a import b`` counts as ``a.b``, because b may be a module; relative imports keep their dots.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            found += [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
    return found


def import_faults(folder: str, source: str) -> list[str]:
    """What is wrong with the imports of a file in one of the four folders."""
    order = list(LAYERS)
    faults = []
    for line, module in imported_modules(source):
        top = module.split(".")[0]
        if module.startswith("."):
            faults.append(f"{line}: relative import {module}, write the long name")
        elif top in LAYERS and top != "adafocus_rl":
            faults.append(f"{line}: {module}, write adafocus_rl.{module}")
        elif top == "adafocus_rl" and order.index(layer_of(module)) > order.index(folder):
            faults.append(f"{line}: {folder} imports {module} from a layer above")
    return faults


@pytest.mark.parametrize(
    ("folder", "source", "fault"),
    [
        (
            "envs",
            "from adafocus_rl.agents.base import Agent",
            "1: envs imports adafocus_rl.agents.base.Agent",
        ),
        ("adafocus_rl", "def f():\n    import adafocus_rl.envs", "2: adafocus_rl imports adafocus_rl.envs"),
        ("agents", "from adafocus_rl import experiments", "1: agents imports adafocus_rl.experiments"),
        ("agents", "from envs import rewards", "1: envs.rewards, write adafocus_rl.envs.rewards"),
        ("experiments", "from . import cli", "1: relative import ..cli"),
        (
            "agents",
            "from adafocus_rl.envs import rewards\nimport adafocus_rl.environment\nimport torch",
            None,
        ),
        ("experiments", "import adafocus_rl.experiments.cli.entry, adafocus_rl.agents, adafocus_rl.models", None),
    ],
)
def test_the_import_check_sees_what_it_should(folder: str, source: str, fault: str | None) -> None:
    faults = import_faults(folder, source)
    if fault is None:
        assert faults == []
    else:
        assert len(faults) == 1
        assert faults[0].startswith(fault)


def test_imports_between_the_layers_only_go_down() -> None:
    faults = []
    for folder in LAYERS:
        for path in sources(folder):
            if path.relative_to(ROOT).as_posix() not in DOORS:
                found = import_faults(folder, path.read_text(encoding="utf-8"))
                faults += [f"{path.relative_to(ROOT)}:{fault}" for fault in found]
    assert faults == []


def packages() -> dict[str, tuple[str, Path]]:
    """By module: the package that it belongs to, and its file.

    A package is a folder below one of the four. What lies in one of the four itself is a package of its own.
    """
    found = {}
    for folder, name in LAYERS.items():
        for path in sources(folder):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            module = ".".join([name, *parts]).removesuffix(".__init__")
            package = ".".join([name, *parts[:-1]]) if len(parts) > 1 else module
            found[module] = (package, path)
    return found


def test_no_two_packages_import_each_other_by_any_way() -> None:
    known = packages()
    leads_to: dict[str, set[str]] = {package: set() for package, _ in known.values()}
    for package, path in known.values():
        for _, imported in imported_modules(path.read_text(encoding="utf-8")):
            module = imported
            while module and module not in known:
                module = module.rpartition(".")[0]
            # The name of the whole is an entry point, no package.
            if module and module != "adafocus_rl" and known[module][0] != package:
                leads_to[package].add(known[module][0])
    # Whatever leads to nothing that is left is taken away; what remains goes round in circles.
    while ends := [package for package, others in leads_to.items() if not others & leads_to.keys()]:
        for package in ends:
            del leads_to[package]
    assert leads_to == {}


def test_no_layer_names_a_layer_above_in_a_string() -> None:
    order = list(LAYERS)
    faults = []
    for folder in LAYERS:
        above = [LAYERS[other] for other in order[order.index(folder) + 1 :]]
        for path in sources(folder):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
            faults += [
                f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
                if any(name in node.value for name in above) and path.relative_to(ROOT).as_posix() not in DOORS
            ]
    assert faults == []


def test_every_folder_of_code_is_a_package() -> None:
    """setup.py finds packages by their ``__init__.py``."""
    folders = {path.parent for folder in LAYERS for path in sources(folder)}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def offered(path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]], list[str]]:
    """What an ``__init__.py`` imports for type checkers, what it imports on demand, and its ``__all__``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (choice,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        node.module or "": [alias.name for alias in node.names]
        for node in choice.body
        if isinstance(node, ast.ImportFrom)
    }
    (call,) = [node for node in ast.walk(choice) if isinstance(node, ast.Call)]
    (names,) = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return typed, ast.literal_eval(call.args[1]), ast.literal_eval(names.value)


def test_a_package_offers_the_same_names_to_type_checkers_and_to_python() -> None:
    paths = [path for folder in LAYERS for path in sources(folder) if path.name == "__init__.py"]
    paths = [path for path in paths if "on_demand(" in path.read_text(encoding="utf-8")]
    assert len(paths) > 5
    for path in paths:
        typed, on_demand, names = offered(path)
        assert typed == on_demand, path
        assert {*names} == {name for part in typed.values() for name in part}, path


def test_files_stay_short_and_the_top_layer_has_few_modules() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for folder in LAYERS for path in sources(folder)
    }
    assert [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > 300] == []
    assert len([*(ROOT / "experiments").glob("*.py")]) <= 5


def test_every_package_has_a_line_in_where_does_it_go() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([\w/]+)/` \|", page, re.MULTILINE)
    there = {path.parent.relative_to(ROOT).as_posix() for folder in LAYERS for path in sources(folder)}
    assert sorted(told) == sorted({*there, "experiments/demo", "experiments/recipes"})


def requirements() -> dict[str, Requirement]:
    """What setup.cfg asks for, by name."""
    config = setup_cfg()
    lines = "\n".join([config["options"]["install_requires"], *config["options.extras_require"].values()]).splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name.lower(): requirement for requirement in found}


def pins(file: str) -> dict[str, list[str]]:
    """Versions of a file of constraints by name; several where they depend on Python's version."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if "==" in line:
            name, version = line.split(";")[0].strip().lower().split("==")
            found.setdefault(name, []).append(version)
    return found


def test_every_direct_dependency_is_pinned() -> None:
    allowed = {name: requirement.specifier for name, requirement in requirements().items()}
    pinned = pins("constraints.txt")
    assert allowed.keys() - pinned.keys() == set()
    assert [name for name in allowed if not all(version in allowed[name] for version in pinned[name])] == []


def test_each_dependency_states_the_minimum_that_is_tested() -> None:
    """`make test-minimum` installs what setup.cfg states, and nothing higher."""
    stated = {
        name: [specifier.version for specifier in requirement.specifier if specifier.operator == ">="]
        for name, requirement in requirements().items()
    }
    assert [name for name, versions in stated.items() if len(versions) != 1] == []
    pinned = pins("constraints-minimum.txt")
    tested = {name: [Version(version) for version in pinned.get(name, [])] for name in stated}
    assert tested == {name: [Version(version) for version in versions] for name, versions in stated.items()}


def test_what_is_imported_is_asked_for() -> None:
    """Not only brought along by something else, which may stop to bring it."""
    names = requirements().keys() | {"opencv-python-headless"}  # which `make` takes where opencv-python does not load
    providers = packages_distributions()
    faults = []
    for folder in (*LAYERS, "tests"):
        for path in sources(folder):
            modules = {module.split(".")[0] for _, module in imported_modules(path.read_text(encoding="utf-8"))}
            for module in sorted(modules & providers.keys() - sys.stdlib_module_names - {"adafocus_rl"}):
                if not {name.lower().replace("_", "-") for name in providers[module]} & names:
                    faults.append(f"{path.relative_to(ROOT)} imports {module}")
    assert faults == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, by way of a source distribution, from a copy: a build must not write into the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in LAYERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=ignore)
    built = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_file_and_claims_one_name(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"adafocus_rl"}
    expected = {
        "/".join([*LAYERS[folder].split("."), *path.relative_to(ROOT / folder).parts])
        for folder in LAYERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.split("/")[0].endswith(".dist-info")} == expected
    assert {f"{name.replace('.', '/')}/py.typed" for name in LAYERS.values()} <= names


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    # Before any other path is added, so that pip finds the environment empty.
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--quiet"),
            *("--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)),
        ],
        check=True,
    )
    # The dependencies (gigabytes) are borrowed from where the tests run. A folder named in a .pth file has
    # its own .pth files ignored, so this checkout's editable installation stays invisible.
    (packages,) = {path.parent for path in environment.rglob("adafocus_rl") if path.parent.name == "site-packages"}
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}

    def output(*command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=clean, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = output(str(binaries / "python"), "-c", "import adafocus_rl.envs as e; print(e.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    adafocus = str(binaries / "adafocus")
    usage = output(adafocus, "--help")
    assert "train" in usage
    listed = output(adafocus, "list")
    recipes = sorted(path.stem for path in (ROOT / "experiments" / "recipes").glob("*.yaml"))
    assert "moving_digits" in recipes
    assert [recipe for recipe in recipes if recipe not in listed] == []
