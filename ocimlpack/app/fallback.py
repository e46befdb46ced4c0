"""A second place for a registry's models: where to turn when the registry fails.

It is policy, not a store: the same work is done again with another location. What went over before
the registry was lost is on disk already, and is not moved again. What says that bytes are wrong, or
that somebody may not, is the answer, and no reason to look elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar, Unpack

from ocimlpack.app import places
from ocimlpack.app.options import Connection
from ocimlpack.app.transfers import Synced, Transferred
from ocimlpack.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Warned, ignore
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import settings
from ocimlpack.stores.base import Store, TagLister, capability
from ocimlpack.stores.settings import ON_FAILURE, FallbackMode
from ocimlpack.transfer import copy as transfer

if TYPE_CHECKING:
    from ocimlpack.app.audit import Entry

Result = TypeVar("Result")

_PATIENCE: Final = 20.0
"""Seconds for which a failing registry is tried again, if there is a fallback."""

MIRROR: Final[FallbackMode] = "mirror"


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where a repository's models are beside their registry.

    Attributes:
        place: the location, without tag and digest.
        mode: `on-failure`, or `mirror` to push to both.
    """

    place: Reference
    mode: FallbackMode = ON_FAILURE

    def at(self, ref: Reference, digest: Digest | None = None) -> Reference:
        """What a reference in the registry is called here."""
        return replace(self.place, tag=ref.tag, digest=digest or ref.digest)


@dataclass(slots=True)
class Known:
    """What reading has found out before it failed.

    Attributes:
        digest: the manifest's digest, once the registry has said it.
        fallback: whether this is the fallback now.
    """

    digest: Digest | None = None
    fallback: bool = False


def of(ref: Reference, options: Connection) -> Fallback | None:
    """The fallback of a repository: the one that was asked for, else the configuration file's.

    Raises:
        InputError: it is no place for a model.
    """
    given = options.get("fallback")
    mode = options.get("fallback_mode")
    if ref.kind is not Kind.REGISTRY:
        if given:
            raise InputError(f"a fallback is for a registry, and {ref.place} is none")
        return None
    if given:
        return Fallback(_place(given, options), mode or ON_FAILURE)
    found = settings.load().fallback_of(ref.host, ref.repository)
    if found is None:
        if mode:
            raise InputError(
                f"no fallback is known for {ref.place}", hint="add --fallback LOCATION"
            )
        return None
    return Fallback(_place(found.location, options), mode or found.mode)


def reading(
    ref: Reference,
    options: Connection,
    work: Callable[[Reference, Known, Connection], Result],
) -> Result:
    """Do something that reads, and if the registry fails, do it with the fallback.

    Args:
        ref: what is read.
        options: names the fallback.
        work: does it with the location and the options that it is given, and keeps what it finds
            out.

    Raises:
        OcimlpackError: what `work` raises; where both fail, what the registry said.
    """
    other = of(ref, options)
    known = Known()
    try:
        return work(ref, known, _hurried(options) if other else options)
    except OcimlpackError as error:
        if other is None or not (_is_lost(error, "destination") or _is_absent(error)):
            raise
        there = other.at(ref, known.digest)
        said = f"{error.message}; going on with the fallback {there}"
        if there.digest is None:
            said += ", whose tag may stand for something older"
        options.get("report", ignore)(Warned(said))
        known.fallback = True
        try:
            return work(there, known, options)
        except (NotFoundError, UnavailableError, UnsupportedError) as second:
            error.hint = f"nor does the fallback help: {second.message}"
            raise error from second


def writing(
    ref: Reference,
    options: Connection,
    work: Callable[[Reference, Connection], Transferred],
) -> Transferred:
    """Push to the registry, to the fallback if that fails, or to both.

    Args:
        ref: the destination.
        options: names the fallback.
        work: pushes to the location that it is given, with these options.

    Raises:
        OcimlpackError: what `work` raises; where both fail, what the registry said. In mode
            `mirror` also where only the fallback fails: running it again brings what is missing.
    """
    other = of(ref, options)
    report = options.get("report", ignore)
    try:
        done = work(ref, _hurried(options) if other else options)
    except OcimlpackError as error:
        if other is None or not _is_lost(error, "source"):
            raise
        report(Warned(f"{error.message}; pushing to the fallback {other.place}"))
        try:
            done = work(other.at(ref), options)
        except (UnavailableError, UnsupportedError) as second:
            error.hint = f"nor does the fallback take it: {second.message}"
            raise error from second
        return replace(done, fallback=done.reference, reason=error.message)
    if other is None or other.mode != MIRROR:
        return done
    try:
        second_copy = work(other.at(ref), options)
    except OcimlpackError as error:
        error.hint = f"{done.reference} is there; run it again to bring it to the fallback as well"
        raise
    return replace(done, fallback=second_copy.reference)


def sync(
    repository: str,
    *,
    prefer: str | None = None,
    dry_run: bool = False,
    **options: Unpack[Connection],
) -> Synced:
    """Bring to a registry what only its fallback has, and back, tag by tag.

    Args:
        repository: the repository in the registry.
        prefer: `registry` or `fallback`: which of them is right about a tag that stands for
            different things. Without it such tags are left alone.
        dry_run: only say what would be done.
        **options: see `Connection`; `fallback` names the other place.

    Raises:
        InputError: no fallback is known.
        ConflictError: tags stand for different things, and nothing says which is right; all others
            were brought level.
    """
    if prefer not in (None, "registry", "fallback"):
        raise InputError(f"prefer is {prefer!r}; it takes registry or fallback")
    ref = places.locate(repository, options)
    if ref.tag or ref.digest:
        raise InputError(f"{repository} names one artifact; repositories are brought level")
    other = of(ref, options)
    if other is None:
        raise InputError(f"no fallback is known for {ref.place}", hint="add --fallback LOCATION")
    with _recorded(ref, options, dry_run) as (entry, how):
        entry.fallback = str(other.place)
        with places.writing(ref, how) as registry, places.writing(other.place, how) as second:
            work = _Sync(registry, second, prefer, dry_run, how)
            try:
                work.run()
            finally:
                entry.tags = (*work.to_registry, *work.to_fallback)
        if work.conflicts:
            raise ConflictError(
                f"{', '.join(work.conflicts)}: the registry and the fallback have different models "
                "under these tags",
                hint="say which is right: --prefer registry or --prefer fallback",
            )
    return Synced(
        str(ref.place),
        str(other.place),
        tuple(work.to_registry),
        tuple(work.to_fallback),
        work.same,
        dry_run,
    )


@contextmanager
def _recorded(
    ref: Reference, options: Connection, dry_run: bool
) -> Iterator[tuple[Entry, Connection]]:
    from ocimlpack.app import audit  # late: a pull imports this module, and records nothing

    if dry_run:
        yield audit.Entry(str(ref)), options
        return
    with audit.recording("bucket sync", ref, options) as recorded:
        yield recorded


class _Sync:
    """Two repositories that are brought level."""

    def __init__(
        self,
        registry: Store,
        fallback: Store,
        prefer: str | None,
        dry_run: bool,
        options: Connection,
    ) -> None:
        self._registry = registry
        self._fallback = fallback
        self._prefer = prefer
        self._dry_run = dry_run
        self._options = options
        self.to_registry: list[str] = []
        self.to_fallback: list[str] = []
        self.conflicts: list[str] = []
        self.same = 0

    def run(self) -> None:
        """Bring them level."""
        here, there = _tags(self._registry), _tags(self._fallback)
        for name in sorted(here | there):
            if name not in here:
                self._bring(name, to_registry=True)
            elif name not in there:
                self._bring(name, to_registry=False)
            elif self._registry.resolve(name).digest == self._fallback.resolve(name).digest:
                self.same += 1
            elif self._prefer is None:
                self.conflicts.append(name)
            else:
                self._bring(name, to_registry=self._prefer == "fallback")

    def _bring(self, name: str, *, to_registry: bool) -> None:
        src, dst = self._fallback, self._registry
        if not to_registry:
            src, dst = dst, src
        if not self._dry_run:
            transfer.copy(
                src,
                src.resolve(name),
                dst,
                [name],
                jobs=places.jobs(self._options),
                report=self._options.get("report", ignore),
                action="copying",
            )
        (self.to_registry if to_registry else self.to_fallback).append(name)


def _hurried(options: Connection) -> Connection:
    """The same with less patience: there is somewhere else to turn."""
    return {**options, "patience": min(options.get("patience", _PATIENCE), _PATIENCE)}


def _tags(store: Store) -> set[str]:
    lister = capability(store, TagLister)
    if lister is None:
        raise UnsupportedError("a place that can't list its tags can't be brought level")
    try:
        return set(lister.tags())
    except NotFoundError:
        return set()  # nothing was ever pushed there


def _place(text: str, options: Connection) -> Reference:
    ref = places.locate(text, options)
    if ref.tag or ref.digest:
        raise InputError(
            f"a fallback has no tag or digest: {text}", hint="each reference brings its own"
        )
    if ref.kind in {Kind.FOLDER, Kind.ARCHIVE}:
        raise InputError(f"a fallback can't be a {ref.kind}: {text}")
    return ref


def _is_lost(error: OcimlpackError, ours: str) -> bool:
    """Whether the registry is failing, or refuses such content, and not our own side."""
    if error.side == ours:
        return False
    if isinstance(error, UnsupportedError):
        return error.status is not None
    return isinstance(error, UnavailableError)


def _is_absent(error: OcimlpackError) -> bool:
    """What was pushed while the registry was down is in the fallback alone."""
    return isinstance(error, NotFoundError) and error.side != "destination"
