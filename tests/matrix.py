"""Runs all tests on several Pythons and sets of packages, each in an environment of its own: ``make test-matrix``.

The environments are made by the Makefile, one after the other in ``.venv-matrix``, and removed afterwards, because each
takes several GB. A Python that this machine lacks is skipped: its row says so.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ".venv-matrix"

TESTS_ONLY = "pytest pytest-xdist hypothesis setuptools packaging build cloudpickle"
"""What the tests need, and no optional package of ``adafocus_rl``."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One environment.

    Attributes:
        name: name for ``--only``.
        about: what is special about it.
        python: version of Python.
        variables: variables of the Makefile.
    """

    name: str
    about: str
    python: str
    variables: dict[str, str] = field(default_factory=dict)


ROWS = (
    Row(name="minimum", about="the lowest versions that setup.cfg allows", python="3.10",
        variables={"CONSTRAINTS": "constraints-minimum.txt"}),
    Row(name="py3.10", about="the versions of constraints.txt", python="3.10"),
    Row(name="py3.11", about="the versions of constraints.txt", python="3.11"),
    Row(name="py3.12", about="the versions of constraints.txt", python="3.12"),
    Row(name="py3.13", about="the versions of constraints.txt", python="3.13"),
    Row(name="newest", about="the newest versions that the package index has", python="3.13",
        variables={"CONSTRAINTS": ""}),
    Row(name="torch2.11", about="torch 2.11 and otherwise the newest versions", python="3.12",
        variables={"CONSTRAINTS": "", "PACKAGES": "torch==2.11.* torchvision==0.26.*"}),
    Row(name="required", about="required packages only (no sb3-contrib, ONNX, scikit-image), OpenCV without windows",
        python="3.12", variables={"EXTRAS": "", "PACKAGES": TESTS_ONLY, "OPENCV": "headless"}),
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Run the rows and print a table; return 1 if a test of any row failed."""
    parser = argparse.ArgumentParser(
        prog="make test-matrix", description=__doc__, epilog="Arguments after -- are pytest's."
    )
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], metavar="ROW", help="rows to run")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    # argparse would take pytest's arguments for values of --only.
    cut = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:cut])
    rows = [row for row in ROWS if options.only is None or row.name in options.only]
    if options.list:
        sys.stdout.write("\n".join(f"{row.name:<10} Python {row.python}, {row.about}" for row in rows) + "\n")
        return 0
    results = []
    for row in rows:
        results.append((row, *_run(row, argv[cut + 1 :])))
        sys.stdout.write(_table(results) + "\n")
        sys.stdout.flush()
    return int(any(not passed for _, passed, _, _ in results))


def _run(row: Row, tests: Sequence[str]) -> tuple[bool, str, float]:
    """Return whether a row passed, what there is to say about it, and the seconds that it took."""
    python = shutil.which(f"python{row.python}")
    # A launcher (pyenv's, for example) can exist for a Python that is not there.
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        return True, f"skipped: no python{row.python} here", 0.0
    shutil.rmtree(ROOT / VENV, ignore_errors=True)
    variables = {"PYTHON": python, "VENV": VENV, **row.variables}
    command = ["make", "--no-print-directory", "test", *(f"{name}={value}" for name, value in variables.items())]
    if tests:
        command.append("TEST_ARGS=-n 2 " + " ".join(f"'{argument}'" for argument in tests))
    started = time.monotonic()
    lines: list[str] = []
    try:
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(line)
                lines.append(line)
        versions = _versions()
    finally:
        shutil.rmtree(ROOT / VENV, ignore_errors=True)
    counts = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), None)
    said = re.sub(r"^[= ]+|[= ]+$| in [\d.]+s.*", "", counts.strip()) if counts else "the installation failed"
    return process.returncode == 0, f"{said} ({versions})", time.monotonic() - started


def _versions() -> str:
    program = (
        "from importlib.metadata import version; import sys; "
        "print('Python ' + sys.version.split()[0], *(n + ' ' + version(n) for n in ('torch', 'gymnasium', 'numpy')), "
        "sep=', ')"
    )
    python = ROOT / VENV / "bin" / "python"
    if not python.exists():
        return "no environment"
    found = subprocess.run([python, "-c", program], capture_output=True, text=True)
    return found.stdout.strip() or "no packages"


def _table(results: Sequence[tuple[Row, bool, str, float]]) -> str:
    lines = ["| row | | result | minutes |", "|---|---|---|---|"]
    for row, passed, said, seconds in results:
        lines.append(f"| {row.name} | {row.about} | {'' if passed else '**failed**: '}{said} | {seconds / 60:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
