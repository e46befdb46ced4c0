"""What is in an archive that is a member of an artifact, under the paths that are meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import archive
from ocimlpack.model.archive import Item, takes_away
from ocimlpack.model.artifact import Member
from ocimlpack.model.names import check_path


def items(member: Member, stream: BinaryIO) -> Iterator[tuple[Item, Iterator[bytes]]]:
    """The files and folders of a member, each file with its content, as `archive.read` gives them.

    In a layer of an image there are also links. A hard link is to a file that came before it and
    has its size.

    Raises:
        IntegrityError: the stream is not what the descriptor says.
        InvalidContentError: an archive that is damaged or unsafe, or holds what it must not.
        UnsupportedError: a compression that this installation can't read.
    """
    sizes: dict[str, int] = {}
    linked = 0
    for item, content in archive.read(stream, member.desc, member.encoding, member.below):
        found = _renamed(member, item)
        if found is None:
            continue
        if member.confined and not f"{found.path}/".startswith(f"{member.path}/"):
            raise _misplaced(member, f"{found.path!r:.150} is not in the folder {member.path!r}")
        if found.hard:
            found = replace(found, size=_size_of(member, found, sizes))
            linked += found.size
            _check_total(member, linked)
        if member.below and _is_file(member, found):
            sizes[found.path] = found.size
        yield found, content


def places(member: Member, stream: BinaryIO) -> Iterator[tuple[Item, int]]:
    """The same of an archive that is not compressed and can be sought in, by its headers alone.

    Returns:
        The files and folders, and where their bytes begin. Links have none. Nothing is held against
        a digest, and sizes of links are not known.

    Raises:
        InvalidContentError: an archive that is damaged or unsafe, or holds what it must not.
    """
    try:
        for item, start in archive.places(stream, member.desc.size, member.below):
            if (found := _renamed(member, item)) is not None:
                yield found, start
    except InvalidContentError as error:
        raise _misplaced(member, error.message) from error


def _renamed(member: Member, item: Item) -> Item | None:
    """The item under the path that is meant; None for a folder that is only on the way to it."""
    if member.into:
        return replace(item, path=check_path(f"{member.into}/{item.path}"))
    if member.inside is None:
        return item
    root = member.inside.removesuffix(member.path)
    named = item.path.startswith(root) and f"/{item.path}".endswith(f"/{member.path}")
    if named and not item.is_folder:
        # The name that is known may be the last part alone; the archive has the whole path.
        return replace(item, path=item.path.removeprefix(root))
    on_the_way = item.is_folder and f"{item.path}/".startswith(root)
    return None if on_the_way else item


def _is_file(member: Member, item: Item) -> bool:
    """Whether a hard link can be to it."""
    if item.is_folder or (item.link is not None and not item.hard):
        return False
    return member.level is None or not takes_away(item.path)


def _check_total(member: Member, linked: int) -> None:
    """Links take no room in an archive, but each becomes a file."""
    limit = archive.unpacked_limit(member.desc.size)
    if linked > limit:
        raise _misplaced(member, f"its links are to more than {limit:,} bytes")


def _size_of(member: Member, item: Item, sizes: dict[str, int]) -> int:
    """The size of the file that a hard link is to.

    Raises:
        InvalidContentError: it is to nothing that came before.
    """
    size = sizes.get(item.link or "")
    if size is None:
        raise _misplaced(
            member, f"{item.path!r:.150} is a link to {item.link!r:.150}, which is not in it"
        )
    return size


def _misplaced(member: Member, problem: str) -> InvalidContentError:
    digest = str(member.desc.digest)
    return InvalidContentError(f"archive {digest}: {problem}", digest=digest)
