"""Models on the Hugging Face Hub: an address, its files in the Hub's local cache, and errors as one line each.

The environment says where and who: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE (1: the cache alone), HF_HOME.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from raysys.errors import HubError, UserError
from raysys.pretrained import first_line

SCHEME = "hf://"
CONTENT = ("config.json", "*.safetensors", "audio/*", "text/*", "tokenizer/*")
"""A model's files, as patterns; nothing else is downloaded."""
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_hub_address(location: str) -> bool:
    return location.startswith(SCHEME)


def belongs(name: str) -> bool:
    """Whether a file, by its path within the folder, is one of a model's."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in CONTENT)


def fetch(address: str, folder: Path) -> str:
    """Download a model into a folder, through the Hub's cache.

    Args:
        address: hf://user/name, or hf://user/name@revision: a branch, a tag or a commit.
        folder: must not exist; gets regular files, whereas the cache is made of links.

    Returns: the commit to which the revision was resolved.

    Raises:
        HubError: the address is none, or the Hub does not give the model.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise HubError(f"{address}: expected hf://user/name or hf://user/name@revision.")
    from huggingface_hub import snapshot_download

    with hub_errors(found["repo"], found["revision"]):
        snapshot = Path(
            snapshot_download(found["repo"], revision=found["revision"], allow_patterns=list(CONTENT), max_workers=2)
        )
    shutil.copytree(snapshot, folder)
    return snapshot.name


@contextlib.contextmanager
def hub_errors(repo: str, revision: str | None = None) -> Iterator[None]:
    """Errors of the Hub's client as one line that says what to do.

    Raises:
        HubError: instead of whatever the client raises.
    """
    try:
        yield
    except UserError:
        raise
    # The client raises its own errors, those of its HTTP library, and those of the disk.
    except Exception as error:
        raise HubError(f"{SCHEME}{repo}: {_explained(error, repo, revision)}") from error


def _explained(error: Exception, repo: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    token = "the token in HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token of this machine, if any,"
    if isinstance(error, errors.HFValidationError):
        return f"is no repository's name ({first_line(error)}). Expected user/name."
    if isinstance(error, errors.GatedRepoError):
        return f"is gated. Accept its conditions on {constants.ENDPOINT}/{repo}, and set HF_TOKEN to that account's."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision}. Give a branch, a tag or a whole commit."
    if status == 401 and not isinstance(error, errors.RepositoryNotFoundError):
        return f"{token} is not accepted (401). Set HF_TOKEN to a valid one."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"there is no such model, or {token} may not see it. Check the name; a private one needs HF_TOKEN."
    if status == 403:
        return f"{token} may not do this (403). Set HF_TOKEN to one that may write to {repo.split('/')[0]}."
    if isinstance(error, errors.OfflineModeIsEnabled) or (
        constants.HF_HUB_OFFLINE and isinstance(error, errors.LocalEntryNotFoundError)
    ):
        return "is not in the local cache, and HF_HUB_OFFLINE forbids to ask the Hub. Unset it, or copy the cache."
    if status is not None:
        return f"{constants.ENDPOINT} answered {status} ({first_line(error)}). Try again later."
    return (
        f"{constants.ENDPOINT} cannot be reached ({first_line(error)}), and the local cache does not have the model. "
        f"Check the network, HF_ENDPOINT and HTTPS_PROXY."
    )
