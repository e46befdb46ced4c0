"""The destination of a pull: a folder that gets an artifact's files, all of them or none.

Nothing under a final name is ever unverified or cut short. Files are completed in a private staging
folder and become visible when all are right: where the destination is new, by one rename; where it
stands already, one by one, the receipt last.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
    OcimlpackError,
)
from ocimlpack.model import archive, receipt
from ocimlpack.model.artifact import Member, clashing, members
from ocimlpack.model.beneath import Root, reading, writing
from ocimlpack.model.names import OWN_FOLDER, collisions, selector
from ocimlpack.model.receipt import Entry, Receipt
from ocimlpack.model.staging import Staging, Unpacked
from ocimlpack.model.standing import Standing, covers
from ocimlpack.progress import Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import Blob
from ocimlpack.stores.verify import chunks
