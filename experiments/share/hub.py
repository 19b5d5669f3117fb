"""Upload of a model folder with huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError, first_line, needs_extra


def hub_client() -> Any:
    """Return a client of the Hugging Face Hub, ``huggingface_hub.HfApi``.

    Raises:
        UserError: if the package is missing.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise needs_extra("--push", "huggingface-hub", extra="hub") from None
    return HfApi()


def check_repository(name: str) -> str:
    """Return the name of a repository.

    Raises:
        UserError: if it is not OWNER/NAME.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UserError(f"--push is {name!r}; give OWNER/NAME")
    return name


def push(folder: Path, repository: str, client: Any) -> str:
    """Upload a model folder, to a new private repository if there is none of this name; return its address.

    Args:
        folder: the folder.
        repository: OWNER/NAME.
        client: as ``hub_client`` returns it.

    Raises:
        UserError: if the upload fails, for example without a login or a network.
    """
    try:
        created = client.create_repo(repository, private=True, exist_ok=True)
        client.upload_folder(repo_id=repository, folder_path=folder, commit_message="adafocus card")
    except Exception as error:  # its errors come from several packages
        raise UserError(
            f"{folder} was written, but not uploaded to {repository}: {first_line(error)}; "
            f"log in with `hf auth login` and upload it with `hf upload {repository} {folder}`"
        ) from error
    return str(created)
