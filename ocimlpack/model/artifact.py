"""What a layer of an artifact is: a file, or an archive of files, and under which name.

How a format says so is the affair of `readers`. What is refused, whatever the format, is here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.names import check_path, collisions
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.mediatypes import Encoding


@dataclass(frozen=True, slots=True)
class Member:
    """One layer as a file, or as an archive of files.

    Attributes:
        path: the file's path. For an archive the name of the file or folder in it, "." where it
            fills the whole folder; the paths are those inside.
        desc: the layer.
        kind: what the file is for, as ModelPack calls it, or "file" where that isn't said.
        encoding: how the layer holds the file or the files.
        executable: whether the file may be run.
        single: whether there is just one file, of this path. Always so for a raw layer.
        confined: whether all in the archive lies below `path`.
        below: the archive's folder whose content counts; its name is no part of the paths, and
            what is elsewhere in the archive is passed over. None where all of it counts.
        inside: the name in the archive of the one file that is meant, where that is another one
            than `path`; what else is in the archive keeps its name.
        into: the folder that the archive's paths are in, where they are not from the top.
        shown: what a person is told of an archive, where `path` says nothing.
        level: which member covers which, where archives may hold the same paths: the one with the
            higher level is what is seen. None where nothing may be there twice.
    """

    path: str
    desc: Descriptor
    kind: str
    encoding: Encoding = "raw"
    executable: bool = False
    single: bool = True
    confined: bool = False
    below: str | None = None
    inside: str | None = None
    into: str = ""
    shown: str = ""
    level: int | None = None

    @property
    def origin(self) -> Digest:
        """Tells what comes out of the member: its content, and how paths are made of it."""
        made = (self.below, self.inside, self.into)
        if not any(made):
            return self.desc.digest
        return Digest.of(
            "\0".join((str(self.desc.digest), *(each or "" for each in made))).encode()
        )


def check(manifest: Manifest, members: Iterable[Member]) -> tuple[Member, ...]:
    """The members, if their names are safe and can be side by side. All of them go through here.

    Raises:
        InvalidContentError: an unsafe name, names that clash, a member that is no layer of the
            manifest, or one digest with two sizes.
    """
    sizes: dict[Digest, int] = {}
    for desc in manifest.children:
        if sizes.setdefault(desc.digest, desc.size) != desc.size:
            raise InvalidContentError(
                f"manifest gives two sizes for {desc.digest}", digest=str(desc.digest)
            )
    found = tuple(members)
    for each in found:
        if each.encoding == "raw" or each.path != ".":
            check_path(each.path)
        if sizes.get(each.desc.digest) != each.desc.size:
            raise InvalidContentError(f"{each.path!r:.150} is no layer of the artifact")
    if clash := collisions(each.path for each in found if each.encoding == "raw"):
        raise clashing(*clash[0])
    return found


def clashing(one: str, other: str) -> InvalidContentError:
    """The error for two files of an artifact that can't be in one folder."""
    if one == other:
        return InvalidContentError(f"the artifact holds {one!r} twice")
    return InvalidContentError(
        f"the artifact holds {one!r} and {other!r}, which can't be side by side on every system"
    )
