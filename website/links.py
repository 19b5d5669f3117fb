"""Links of pages to files of the repository, which work on GitHub and lead to pages of their own in the site.

A page may link to ``../agents/base.py`` or ``../CONTRIBUTING.md``. The site has no such files, so each file that a page
links to becomes a page below ``repository/``: Markdown as it is, code with line numbers, a folder as a list.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LANGUAGES = {
    ".py": "python", ".toml": "toml", ".cfg": "ini", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".sbatch": "bash",
}  # fmt: skip
LINK = re.compile(r"(\]\()(?!\w+:|#|/)([^)\s#]+)((?:#[^)\s]*)?\))")
"""A link or picture of Markdown to another file: what is before the path, the path, and its anchor with the bracket."""


def linked(text: str, place: str) -> Iterator[str]:
    """Yield the paths in the repository that a page links to.

    Args:
        text: the page, in Markdown.
        place: its path in the repository.
    """
    for match in LINK.finditer(text):
        yield _target(match[2], place)


def site_path(path: str) -> str:
    """Return the path of the page, or of the file, that shows a file or folder of the repository in the site."""
    if path == "README.md":
        return "index.md"
    if (ROOT / path).is_dir():
        return f"repository/{path}/index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def rewrite(text: str, place: str) -> str:
    """Return a page whose links lead to pages of the site.

    Args:
        text: the page, in Markdown.
        place: its path in the repository.
    """
    here = posixpath.dirname(site_path(place))

    def replaced(match: re.Match[str]) -> str:
        return match[1] + posixpath.relpath(site_path(_target(match[2], place)), here or ".") + match[3]

    return LINK.sub(replaced, text)


def generated(text: str, place: str) -> dict[str, str]:
    """Return the pages for all files that a page links to, and for those that these link to, by path of the site.

    Args:
        text: the page, in Markdown.
        place: its path in the repository.

    Raises:
        FileNotFoundError: if a link leads to nothing.
    """
    pages: dict[str, str] = {}
    waiting = [(path, place) for path in linked(text, place)]
    while waiting:
        path, source = waiting.pop()
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{source} links to {path}, which is not there")
        page = site_path(path)
        if page.startswith("repository/") and page not in pages:
            shown = _page(path)
            pages[page] = rewrite(shown, path) if path.endswith(".md") else shown
            waiting += [(target, path) for target in linked(shown, path)] if path.endswith(".md") else []
    return pages


def _target(link: str, place: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _page(path: str) -> str:
    """Return a file as a page: Markdown unchanged, code in a block, a folder as a list of its files."""
    place = ROOT / path
    if path.endswith(".md"):
        return place.read_text(encoding="utf-8")
    head = f"---\nsearch:\n  exclude: true\n---\n\n# `{path}`\n\n"
    if place.is_dir():
        names = sorted(file.name for file in place.iterdir() if file.suffix in LANGUAGES)
        return (
            head + f"Files of the folder `{path}` of the repository:\n\n" + "".join(f"- `{name}`\n" for name in names)
        )
    code = place.read_text(encoding="utf-8")
    return f'{head}```````{{.{LANGUAGES.get(place.suffix, "text")} linenums="1"}}\n{code}\n```````\n'
