from __future__ import annotations

from tests.scripted.fixtures import (
    authority,
    blob_server,
    ca_file,
    encrypted,
    foreign,
    mia,
    open_store,
    scripted,
    session,
    store,
)

__all__ = [
    "authority",
    "blob_server",
    "ca_file",
    "encrypted",
    "foreign",
    "mia",
    "open_store",
    "scripted",
    "session",
    "store",
]
