"""The files of the project: workflows, templates, citation, and the notes of a release."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import adafocus_rl

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A YAML file; the key ``on`` of a workflow is read as text, as GitHub does."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # makes texts only
    return found


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of all jobs."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def targets(text: str) -> list[str]:
    """The targets of commands ``make …``, without variables."""
    words = [word for line in re.findall(r"\bmake ([^\n`|&]+)", text) for word in line.split()]
    return [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_few_rights_and_runs_what_there_is(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    known = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
    run = "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    assert [target for target in targets(run) if target not in known] == []
    for job in workflow["jobs"].values():
        assert int(job["timeout-minutes"]) <= 360
        matrix = job.get("strategy", {}).get("matrix", {})
        named = [*matrix.get("target", []), *(row["target"] for row in matrix.get("include", []))]
        assert [target for target in named if target not in known] == []
    # Text of a pull request must not become part of a command.
    assert "${{" not in run


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_named_by_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert [line for line in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_one_commit_per_action() -> None:
    found = {use for path in WORKFLOWS for use in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))}
    assert len(found) == len({use.split("@")[0] for use in found})


def test_only_publishing_may_write() -> None:
    writes = {
        (path.stem, name): {right for right, level in job.get("permissions", {}).items() if level == "write"}
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    }
    assert {place: rights for place, rights in writes.items() if rights} == {
        ("docs", "publish"): {"pages", "id-token"},
        ("release", "release"): {"contents"},
    }


def test_all_pythons_are_tested() -> None:
    rows = read(GITHUB / "workflows" / "checks.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text("utf-8"))
    assert [row["python"] for row in rows if row["target"] == "test"] == promised
    assert {"python": promised[0], "target": "test-minimum"} in rows


def test_a_gpu_is_lent_to_labelled_pull_requests_only() -> None:
    workflow = read(GITHUB / "workflows" / "gpu.yml")
    assert workflow["on"] == {"pull_request": {"types": ["labeled"]}}
    assert [job["if"] for job in workflow["jobs"].values()] == ["github.event.label.name == 'gpu'"]


def test_ci_run_builds_what_the_workflows_build() -> None:
    ours = targets((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert {"test", "lint", "type", "docs"} <= {*ours}


def test_forms_are_complete() -> None:
    for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml"):
        form = read(path)
        if path.stem != "config":
            assert {"name", "description", "body"} <= form.keys()
            names = [entry["id"] for entry in form["body"] if "id" in entry]
            assert len(names) == len({*names}) > 0
    assert read(GITHUB / "dependabot.yml")["version"] == "2"
    request = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    assert [target for target in targets(request) if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def test_the_citation_is_of_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == adafocus_rl.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert "Adaptive Focus for Efficient Video Recognition" in [paper["title"] for paper in citation["references"]]


CHANGES = """# Changelog

## Unreleased

- later

## 1.2.10 (2027-01-01)

- ten

## [1.2.1] - 2026-12-01

### Added
- one
"""


@pytest.fixture(scope="module")
def notes() -> Callable[..., str]:
    """The function that the workflow of releases calls."""
    found: Callable[..., str] = runpy.run_path(str(GITHUB / "release_notes.py"))["notes"]
    return found


def test_a_release_gets_the_section_of_its_version(notes: Callable[..., str]) -> None:
    assert notes("v1.2.1", version="1.2.1", changelog=CHANGES) == "### Added\n- one\n"
    assert notes("v1.2.10", version="1.2.10", changelog=CHANGES) == "- ten\n"


@pytest.mark.parametrize(
    ("tag", "version", "fault"),
    [
        ("v1.2.1", "1.3.0", "the tag is v1.2.1, but adafocus_rl.__version__ is 1.3.0"),
        ("v1.2", "1.2", "CHANGELOG.md has no section `## 1.2`"),
        ("1.2.1", "1.2.1", "the tag is 1.2.1"),
    ],
)
def test_a_tag_without_a_section_is_refused(notes: Callable[..., str], tag: str, version: str, fault: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(fault)):
        notes(tag, version=version, changelog=CHANGES)
