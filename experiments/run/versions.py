"""Versions of installed packages, looked up without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

FORMS = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}
"""Distributions that contain the same modules as another one."""


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, or of one that contains the same modules; None if there is none.

    Args:
        name: name of the distribution, such as ``opencv-python``.
    """
    for form in (name, *FORMS.get(name, ())):
        try:
            return version(form)
        except PackageNotFoundError:
            continue
    return None
