"""What the Hugging Face Hub's own library knows: the only module that imports it.

It is asked who one is at the hub, how its names and addresses are written and what its answers
mean. Requests go through our own session, whose proxies, authorities, retries and ranges are those
of all other transfers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.errors import InputError, InvalidContentError, NotAllowedError, UnsupportedError

_MAX_FILES: Final = 100_000
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the hub lists it.

    Attributes:
        path: its path in the repository.
        size: its bytes; None where the hub doesn't say.
        git: its digest in git, SHA-1 over a header and the bytes; None for one kept beside git.
        sha256: the digest of its bytes, for one that is kept beside git (LFS); else None.
    """

    path: str
    size: int | None
    git: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What the hub says of one revision of a model.

    Attributes:
        commit: the revision's commit.
        files: its files.
    """

    commit: str
    files: tuple[Listed, ...]


def require() -> None:
    """See that the library is there.

    Raises:
        UnsupportedError: it is not installed.
        InputError: the environment says that the hub is not to be reached.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise UnsupportedError(
            "imports from the Hugging Face Hub need its library, which is not installed",
            hint="pip install 'ocimlpack[hf]'",
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set, so the hub is not asked for anything")


def endpoint() -> str:
    """The hub's address: `$HF_ENDPOINT`, or the public one."""
    from huggingface_hub import constants

    # The library looks at the environment once, when it is loaded.
    return os.environ.get("HF_ENDPOINT") or str(constants.ENDPOINT)


def token() -> str | None:
    """The token of whoever is logged in, from `$HF_TOKEN` or the hub's file; None without one.

    Raises:
        NotAllowedError: there is to be one, and it can't be had.
    """
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    try:
        found = get_token()
    except Exception as error:  # of many kinds, by what the token is made of
        # Not its words, which may hold a part of what is secret.
        raise NotAllowedError(
            f"the hub's library can't give its token ({type(error).__name__})",
            hint="see `hf auth whoami`",
        ) from error
    if found and not (found.isascii() and found.isprintable() and " " not in found):
        raise InputError("the hub's token has characters that none has")
    return found or None


def check_name(name: str) -> str:
    """The name of a model at the hub, if it is one.

    Raises:
        InputError: says what is wrong with it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(
            f"not a model's name at the hub: {name!r:.120} (expected hf:ORG/NAME[@REVISION])"
        ) from error
    return name


def file_address(address: str, name: str, commit: str, path: str) -> str:
    """Where a file's content is."""
    from huggingface_hub import hf_hub_url

    address = hf_hub_url(name, path, revision=commit, endpoint=address)
    return str(address)


def read_listing(document: Mapping[str, Any], what: str) -> Listing:
    """Understand what the hub says of a model.

    Args:
        document: the answer of `/api/models/NAME/revision/REVISION?blobs=true`.
        what: what messages call it.

    Raises:
        InvalidContentError: it makes no sense.
    """
    from huggingface_hub.hf_api import ModelInfo

    try:
        # Nothing else of it is wanted, and so nothing else can be wrong.
        wanted = ("id", "sha", "siblings")
        info = ModelInfo(**{key: document[key] for key in wanted if key in document})
        files = tuple(
            Listed(
                str(each.rfilename),
                each.size if each.lfs is None else each.lfs.size,
                None if each.lfs else each.blob_id,
                None if each.lfs is None else str(each.lfs.sha256),
            )
            for each in info.siblings or ()
        )
        commit = info.sha
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidContentError(f"the answer about {what} makes no sense") from error
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise InvalidContentError(f"the answer about {what} names no commit")
    if len(files) > _MAX_FILES:
        raise InvalidContentError(f"{what} has more than {_MAX_FILES:,} files")
    if not all(isinstance(each.git, str | None) for each in files):
        raise InvalidContentError(f"the answer about {what} has a digest that is none")
    if not all(map(_has_size, files)):
        raise InvalidContentError(f"the answer about {what} has a size that is none")
    return Listing(commit, files)


def _has_size(file: Listed) -> bool:
    """Whether a size is one; of what is in git itself it need not be known."""
    if file.size is None:
        return file.sha256 is None
    return type(file.size) is int and file.size >= 0
