"""Hooks of mkdocs (``mkdocs.yml``): generated parts of pages, and pages for the files that pages link to."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient.exceptions import CellExecutionError

from website import links, notebooks, parts

OUTPUTS: dict[str, str] = {}
"""Executed pages with their outputs, by path."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Execute the notebooks, and add a page for each file of the repository that a page, or the navigation, names."""
    told = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    named = re.findall(r"'repository/([^']+)'", str(config.nav))
    for place, text in {**told, "": "".join(f"[]({path})" for path in named)}.items():
        try:
            pages = links.generated(text, place)
        except FileNotFoundError as error:
            raise PluginError(str(error)) from None
        for page, content in pages.items():
            if files.get_file_from_path(page) is None:
                files.append(File.generated(config, page, content=content))
    wanted = {place: files.get_file_from_path(place).content_string for place in config.extra["notebooks"]}
    try:
        done = notebooks.execute(wanted)
    except CellExecutionError as error:
        raise PluginError(notebooks.ESCAPES.sub("", str(error))) from None
    for place, executed in done.items():
        OUTPUTS[place] = executed.text
        for name, content in executed.files.items():
            files.append(File.generated(config, posixpath.join(posixpath.dirname(place), name), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Insert the generated parts of a page, and let its links to the repository lead to pages of the site."""
    markdown = OUTPUTS.get(page.file.src_uri, markdown)
    if page.file.generated_by is None:
        markdown = links.rewrite(markdown, f"docs/{page.file.src_uri}")
    return parts.insert(markdown)
