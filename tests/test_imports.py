"""The long names import everywhere: installed, editable, in a checkout that is not installed, without links, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("envs", "agents", "experiments")
LOOK = (
    "import sys, adafocus_rl.envs, adafocus_rl.agents, adafocus_rl.experiments.cli.entry\n"
    "files = [module.__file__ for name, module in sorted(sys.modules.items()) if name.startswith('adafocus_rl')]\n"
    "real = [__import__('os').path.realpath(file) for file in files if file]\n"
    "assert len(real) == len({*real}), 'a module is there twice'\n"
    "print(adafocus_rl.envs.__file__)"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout's code, links as links; a build must not write into the checkout itself."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    copy.mkdir()
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in ("adafocus_rl", *LAYERS):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the dependencies and without adafocus_rl."""
    return bare_environment(tmp_path_factory.mktemp("environment"))


def bare_environment(folder: Path) -> Path:
    """An environment that borrows the dependencies (gigabytes) from where the tests run.

    A folder named in a .pth file has its own .pth files ignored, so this checkout's installation stays invisible.
    """
    venv.create(folder, with_pip=False)
    (packages,) = folder.rglob("site-packages")
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return folder


def python_of(environment: Path) -> str:
    return str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")


def output(*command: str, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=clean, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_a_plain_checkout_works_without_an_installation(checkout: Path, environment: Path) -> None:
    where = output(python_of(environment), "-c", LOOK, cwd=checkout)
    assert Path(where).is_relative_to(checkout)
    assert output(python_of(environment), "-m", "adafocus_rl", "--version", cwd=checkout).startswith("adafocus_rl ")


def test_a_checkout_without_links_works_too(checkout: Path, environment: Path, tmp_path: Path) -> None:
    """Where git cannot make links it writes files that hold the path."""
    copy = tmp_path / "checkout"
    shutil.copytree(checkout, copy, symlinks=True)
    for layer in LAYERS:
        (copy / "adafocus_rl" / layer).unlink()
        (copy / "adafocus_rl" / layer).write_text(f"../{layer}", encoding="utf-8")
    assert output(python_of(environment), "-c", LOOK, cwd=copy) == str(copy / "envs" / "__init__.py")


@pytest.mark.slow
def test_an_editable_installation_is_the_checkout(checkout: Path, tmp_path: Path) -> None:
    environment = bare_environment(tmp_path / "environment")
    install(environment, "--no-build-isolation", "-e", str(checkout))
    where = output(python_of(environment), "-c", LOOK, cwd=tmp_path)
    assert Path(where).resolve() == checkout.resolve() / "envs" / "__init__.py"
    # Once more from the root, where the checkout itself comes first.
    assert Path(output(python_of(environment), "-c", LOOK, cwd=checkout)).resolve().is_relative_to(checkout.resolve())


@pytest.mark.slow
def test_a_source_distribution_installs_and_does_not_mind_the_checkout(checkout: Path, tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", str(tmp_path), str(checkout))
    output(*build, cwd=tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        assert not [member.name for member in content if member.issym() or member.islnk()]
    environment = bare_environment(tmp_path / "environment")
    install(environment, "--no-build-isolation", str(archive))
    where = output(python_of(environment), "-c", LOOK, cwd=tmp_path)
    assert Path(where).is_relative_to(environment)
    # In the checkout's root its own folder comes first, and is whole.
    assert Path(output(python_of(environment), "-c", LOOK, cwd=checkout)).is_relative_to(checkout)


def install(environment: Path, *what: str) -> None:
    pip = (sys.executable, "-m", "pip", "--python", python_of(environment), "install", "--quiet")
    output(*pip, "--disable-pip-version-check", "--no-deps", "--no-index", *what, cwd=environment)
