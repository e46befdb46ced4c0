"""Packed models, written anew in another format; and the images that models are put on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimlpack.app import moving, places
from ocimlpack.app.options import Connection
from ocimlpack.app.results import Transferred
from ocimlpack.errors import InputError
from ocimlpack.model import readers
from ocimlpack.model.options import Form, platforms_of
from ocimlpack.progress import Warned, ignore
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.reference import Reference
from ocimlpack.stores.base import ReadableStore

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
    with written.opened(options) as base:
        form = written.form or "modelpack"
        planned = conversion.plan(src, manifest, content, form, written.parsed)
        for warning in planned.warnings:
            options.get("report", ignore)(Warned(warning))
        return moving.write(planned, ref, tags, dry_run, options, action, src, base)
