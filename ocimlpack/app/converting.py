"""Packed models, written anew in another format; and the images that models are put on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ocimlpack.app import moving, places
from ocimlpack.app.options import Connection, Moving
from ocimlpack.app.transfers import Transferred
from ocimlpack.errors import InputError
from ocimlpack.model import pack as packing
from ocimlpack.model import readers
from ocimlpack.model.options import Form, platforms_of
from ocimlpack.progress import Warned, ignore
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.reference import Reference
from ocimlpack.stores.base import Ingester, ReadableStore, capability
from ocimlpack.transfer.ahead import Destination

if TYPE_CHECKING:
    from ocimlpack.model.image_base import Bases


@dataclass(frozen=True, slots=True)
class Format:
    """What a model is to become.

    Attributes:
        form: the format; None for the one that it has.
        platforms: what an image is for, as a person writes it.
        base: the location of an image that it is put on; None for nothing below it.
    """

    form: Form | None = None
    platforms: tuple[str, ...] = ()
    base: str | None = None

    def __post_init__(self) -> None:
        """Check it before anything is opened.

        Raises:
            InputError: no such format, a platform that is none, or what is for images alone.
        """
        parsed = self.parsed
        if self.base and not parsed:
            raise InputError("a base image is for an image: add --format image")

    @property
    def parsed(self) -> tuple[Platform, ...]:
        """What an image is for; empty where none is written."""
        return platforms_of(self.form or "modelpack", self.platforms)

    @contextmanager
    def opened(self, options: Connection) -> Iterator[Bases | None]:
        """The image that it is put on, as long as its layers may be needed.

        Raises:
            InputError: it is no image, or not for a platform.
            OcimlpackError: it can't be had.
        """
        if self.base is None:
            yield None
            return
        from ocimlpack.model import image_base  # late: few images have one

        with places.found(places.locate(self.base, options), options) as (store, root):
            yield image_base.read(store, root, self.parsed)


def convert(
    src: ReadableStore,
    root: Descriptor,
    ref: Reference,
    tags: tuple[str, ...],
    written: Format,
    dry_run: bool,
    options: Connection,
    action: str,
) -> Transferred:
    """Write a model anew; each content is read once where that is possible.

    Args:
        src: where it is.
        root: its manifest or index.
        ref: where to.
        tags: further tags for it.
        written: what it becomes.
        dry_run: only say what would be done; it is read all the same.
        options: how the location is reached.
        action: the verb that progress shows.

    Raises:
        OcimlpackError: it can't be read, or not be written.
    """
    from ocimlpack.model import conversion  # late: most models stay what they are

    places.targets(ref, tags)  # a bad destination is said before anything is read
    manifest = readers.manifest_in(src, root)
    content = readers.understand(src, manifest)
    planned = conversion.plan(src, manifest, content, written.form or "modelpack", written.parsed)
    for warning in planned.warnings:
        options.get("report", ignore)(Warned(warning))
    return write(planned, ref, tags, written, dry_run, options, action, src)


def write(
    planned: packing.Plan,
    ref: Reference,
    tags: tuple[str, ...],
    written: Format,
    dry_run: bool,
    options: Connection,
    action: str,
    origin: ReadableStore | None = None,
    readme: Callable[[], str | None] = lambda: None,
) -> Transferred:
    """Write a model whose content is far away: what has to be hashed for it is sent meanwhile.

    Args:
        planned: the model.
        ref: where to.
        tags: further tags for it.
        written: what it is written as.
        dry_run: only say what would be done.
        options: how the location is reached.
        action: the verb that progress shows.
        origin: the store that the content comes from, if it is one.
        readme: reads what is shown with a repository that has to be made.

    Raises:
        ConflictError: the location is pinned to another digest.
    """
    targets = places.targets(ref, tags)
    hashing = cast(Moving, options)
    with written.opened(options) as base:
        if dry_run or ref.digest:
            found = moving.hash_layers(planned, hashing).digests
            packed = packing.seal(planned, found, origin, base)
            return moving.send(packed, packed.root, ref, tags, dry_run, options, action)
        with places.writing(ref, options, readme) as dst:
            ahead = cast(Destination | None, capability(dst, Ingester))
            hashed = moving.hash_layers(planned, hashing, ahead, once=True)
            packed = packing.seal(planned, hashed.digests, origin, base)
            names = [str(target.tag) for target in targets]
            done = moving.move(packed, packed.root, dst, names, options, action, hashed.sent)
        return moving.transferred(ref, packed, packed.root, names, done)
