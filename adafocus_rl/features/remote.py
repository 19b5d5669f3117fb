"""A folder at a URL, such as one in an object store, through fsspec."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec

from adafocus_rl.checksums import Checksum
from adafocus_rl.errors import UserError
from adafocus_rl.files import naming

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "sftp": "paramiko", "file": "fsspec", "memory": "fsspec"}
"""Packages that read and write the known kinds of URLs."""

_BLOCK = 8 << 20

_SMALL = 16 << 20
"""Largest manifest or done mark."""


class RemoteFolder:
    """A folder at a URL.

    Args:
        url: ``s3://bucket/folder`` or another kind of PACKAGES.

    Raises:
        UserError: the URL is of another kind, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        kind, colon, _ = url.partition("://")
        # Other kinds of fsspec run commands, read archives or chain other URLs.
        if not colon or kind not in PACKAGES or "::" in url:
            kinds = ", ".join(f"{known}://" for known in PACKAGES)
            raise UserError(f"{url} is no URL that features can be copied to; give one that begins with one of {kinds}")
        self.url = url.rstrip("/")
        self._has_folders = kind in ("file", "sftp")  # object stores have names with slashes
        try:
            with self._reaching(self.url):
                self._files, self._path = fsspec.core.url_to_fs(self.url)
        except ImportError:
            raise UserError(f"{kind}:// needs the package {PACKAGES[kind]}; install it with pip") from None

    @contextlib.contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ImportError, UserError):
            raise
        except Exception as error:  # each kind has errors of its own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{name} cannot be read or written ({reason}); check the URL and your access, and try again"
            ) from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if there is no such file."""
        with self._reaching(f"{self.url}/{name}"):
            try:
                content: bytes = self._files.cat_file(self._file(name), end=_SMALL)
            except FileNotFoundError:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._reaching(f"{self.url}/{name}"):
            self._make_folder(name)
            self._files.pipe_file(f"{self._path}/{name}", content)

    def upload(self, source: Path, name: str) -> str:
        """Copy a file there; return the checksum of what was read here."""
        found, whole = Checksum(), f"{self.url}/{name}"
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(source.open("rb"))
            stack.enter_context(self._reaching(whole))
            self._make_folder(name)
            there = stack.enter_context(self._files.open(f"{self._path}/{name}", "wb"))
            while block := here.read(_BLOCK):
                found.update(block)
                there.write(block)
        return str(found)

    def download(self, name: str, target: Path) -> str:
        """Copy a file from there, and flush it to the disk; return the checksum of what arrived.

        Raises:
            OSError: writing failed, for example because the disk is full.
        """
        found, whole = Checksum(), f"{self.url}/{name}"
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(target.open("wb", buffering=0))
            with self._reaching(whole):
                there = stack.enter_context(self._files.open(self._file(name), "rb"))
            while True:
                with self._reaching(whole):
                    block = there.read(_BLOCK)
                with naming(target):
                    if not block:
                        os.fsync(here.fileno())
                        return str(found)
                    rest = memoryview(block)
                    while rest:
                        rest = rest[here.write(rest) :]
                found.update(block)

    def _file(self, name: str) -> str:
        """Return the path of an existing file, which is no pipe: opening one would wait for its writer."""
        path = f"{self._path}/{name}"
        if self._files.info(path)["type"] != "file":
            raise OSError("it is no regular file")
        return path

    def _make_folder(self, name: str) -> None:
        if self._has_folders:
            self._files.makedirs(f"{self._path}/{name}".rpartition("/")[0], exist_ok=True)
