"""Print the changelog's section of a tag: ``release_notes.py v1.2.3``, for the workflow of releases."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(tag: str, *, version: str, changelog: str) -> str:
    """Return the section of a version.

    Args:
        tag: the tag, ``v`` and a version.
        version: the version of the package.
        changelog: the text of ``CHANGELOG.md``.

    Raises:
        SystemExit: if the tag is of another version, or there is no section for it, or an empty one.
    """
    if tag != f"v{version}":
        raise SystemExit(f"the tag is {tag}, but adafocus_rl.__version__ is {version}; tag v{version}, or change it")
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        if re.match(rf"\[?{re.escape(version)}\]?(?![\w.])", title) and text.strip():
            return text.strip() + "\n"
    raise SystemExit(f"CHANGELOG.md has no section `## {version}`; give `Unreleased` this title and the date")


if __name__ == "__main__":
    source = (ROOT / "adafocus_rl" / "__init__.py").read_text(encoding="utf-8")
    (found,) = re.findall(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    changelog_text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sys.stdout.write(notes(sys.argv[1], version=found, changelog=changelog_text))
