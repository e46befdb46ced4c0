"""A registry whose content may also come from elsewhere: caches, and proxies on the node.

Mirrors are asked for content by its digest, in order, and before the registry itself: so whoever
answers can't answer anything else. What only the registry knows, such as which manifest a tag
stands for, is asked of the registry, and of mirrors only where it does not answer.

What a mirror is: "Registry Proxying" in
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import io
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from ocimlpack.errors import (
    IntegrityError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
)
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.retry import Policy
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import OCI_MANIFEST, is_manifest
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import (
    Blob,
    BytesBlob,
    Divisible,
    PartStream,
    RangeIgnoredError,
    ReadableStore,
    capability,
)
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import read_all

if TYPE_CHECKING:
    from ocimlpack.stores._http import Attempt, Body

POLICY: Final = Policy(attempts=2, base=0.2, cap=2.0, total=10.0, stall=15.0)
"""Short of patience: there is somewhere else to go."""

_ANSWER_SECONDS: Final = 20.0
_MAX_FAILURES: Final = 3
"""Failures in a row after which a mirror is no longer asked: of thousands of files each would wait
for it anew."""
_SMALL: Final = 1024 * 1024
"""Bytes up to which a mirror's content is verified before anybody sees any of it."""


class MirrorSession(Session):
    """A mirror, as requests see it. It gets the credentials for its own host, and no others."""

    def __init__(self, host: str, *, registry: Session, **options: Any) -> None:
        """Prepare; nothing is sent.

        Args:
            host: the mirror's `host[:port]`.
            registry: the one that it stands in for.
            **options: as `Session` takes them.
        """
        super().__init__(host, policy=POLICY, wait=_ANSWER_SECONDS, **options)
        self._query = f"ns={urllib.parse.quote(registry.host, safe='')}"
        # What Dragonfly's proxy goes by; later versions also know `ns`, and others heed neither:
        # https://github.com/dragonflyoss/client/issues/1791
        self._headers = {"X-Dragonfly-Registry": registry.origin}

    def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Body | bytes | None,
        scope: str,
        timeout: float,
    ) -> Attempt:
        if url.startswith("/"):  # not an address that the mirror gave, which may be signed
            headers = {**(headers or {}), **self._headers}
            url = f"{url}{'&' if '?' in url else '?'}{self._query}"
        return super()._attempt(method, url, headers, body, scope, timeout)


class Place:
    """A mirror in this run: what it is, and whether it is still worth asking.

    Attributes:
        name: what messages call it.
        store: where its content is read.
        usable: whether it is asked at all any more.
    """

    def __init__(self, name: str, store: ReadableStore, report: Reporter = ignore) -> None:
        self.name = name
        self.store = store
        self.usable = True
        self._report = report
        self._failures = 0
        self._said: dict[str, object] = {}

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Ask it something in the block, which ends early and without an error if that fails."""
        try:
            yield
        except OcimlpackError as error:
            self.failed(error)

    def worked(self) -> None:
        """It brought something."""
        self._failures = 0

    def failed(self, error: OcimlpackError) -> None:
        """It could not bring something. Where that will happen again, it is asked no more."""
        if isinstance(error, UnavailableError) and not isinstance(error, UnreachableError):
            self._failures += 1
            self.usable = self.usable and self._failures < _MAX_FAILURES
        elif not isinstance(error, NotFoundError):
            self.usable = False
        self._warn("failed", f"the mirror {self.name} is passed over: {error.message}")

    def lied(self, digest: Digest) -> None:
        """What it brought was something else."""
        self.usable = False
        self._warn("lied", f"the mirror {self.name} sent wrong bytes for {digest}: asked no more")

    def _warn(self, kind: str, message: str) -> None:
        mine = object()
        if self._said.setdefault(kind, mine) is mine:  # atomic: one thread finds its own
            self._report(Warned(message))


class MirroredStore(RegistryStore):
    """A repository of a registry, its content read from mirrors where they have it.

    All else is the registry's own: writing, lists, whether something is there. So are parts of
    blobs that are read by themselves, since nothing shows whether a mirror's part is right.
    """

    def __init__(
        self,
        session: Session,
        repository: str,
        places: Sequence[Place],
        report: Reporter = ignore,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            session: the registry.
            repository: the repository's name there.
            places: the mirrors, in the order in which they are asked.
            report: gets an event where a mirror speaks for a registry that does not answer.
        """
        super().__init__(session, repository)
        self._places = tuple(places)
        self._report = report

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for.

        A tag is the registry's to resolve. A mirror's answer may be out of date, so it counts only
        where the registry has none.
        """
        if ":" not in name:
            return self._resolve_tag(name)
        digest = Digest.parse(name)
        for place in _usable(self._places):
            with place.trying():
                return _describe(place.store, digest)
        return super().resolve(name)

    def _resolve_tag(self, tag: str) -> Descriptor:
        try:
            return super().resolve(tag)
        except UnavailableError as error:
            for place in _usable(self._places):
                with place.trying():
                    found = _describe(place.store, place.store.resolve(tag).digest)
                    self._report(
                        Warned(
                            f"{error.message}; what the tag {tag} stands for is taken from the "
                            f"mirror {place.name}, and may be out of date"
                        )
                    )
                    return found
            raise

    def fetch(self, desc: Descriptor) -> Blob:
        """The content: a manifest at once, a blob when it is opened."""
        if not is_manifest(desc.media_type):
            return MirroredBlob(desc, self._places, super().fetch(desc))
        raw = _read_first(self._places, desc)
        return super().fetch(desc) if raw is None else BytesBlob(raw)

    def close(self) -> None:
        """Close the connections."""
        for place in self._places:
            place.store.close()
        super().close()


@dataclass(frozen=True, slots=True)
class _Record:
    """What became of one blob's mirrors: who sent some of it, and who failed."""

    senders: set[Place] = field(default_factory=set)
    failed: set[Place] = field(default_factory=set)


class MirroredBlob:
    """A blob that each of several places may have: where one fails, the next goes on."""

    def __init__(self, desc: Descriptor, places: Sequence[Place], origin: Blob) -> None:
        """Prepare; nothing is asked.

        Args:
            desc: what it is.
            places: who is asked first.
            origin: the same blob where it is at home: the last one to be asked.
        """
        self._desc = desc
        self._places = places
        self._record = _Record()
        self._blobs: dict[Place | None, Blob] = {None: origin}

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on."""
        small = self._desc.size <= _SMALL
        raw = _read_first(self._places, self._desc) if small else None
        if raw is not None:
            yield io.BytesIO(raw[offset:])
            return
        if offset == 0:
            self._record.senders.clear()  # all is read again, whoever had a part in it before
        relay = _Relay(self._desc, lambda place, at: self._at(place).open(at), self._record)
        places = iter(()) if small else _usable(self._places)
        with relay.reading(places, offset, self._desc.size):
            yield cast(BinaryIO, relay)

    @contextmanager
    def part(self, offset: int, length: int) -> Iterator[PartStream]:
        """Read so many bytes from `offset` on. Who has failed at one part is asked for no other."""
        end = min(offset + length, self._desc.size)

        def begin(place: Place | None, at: int) -> AbstractContextManager[PartStream]:
            divisible = capability(self._at(place), Divisible)
            if divisible is None:
                raise RangeIgnoredError(f"{self._desc.digest} comes only as a whole")
            return divisible.part(at, end - at)

        relay = _Relay(self._desc, begin, self._record)
        failed = self._record.failed
        places = (place for place in _usable(self._places) if place not in failed)
        with relay.reading(places, offset, end):
            yield relay

    def doubt(self) -> bool:
        """What was read is wrong: those who sent any of it are asked no more.

        Returns:
            Whether reading again may bring something else.
        """
        senders = frozenset(self._record.senders)
        for place in senders:
            place.lied(self._desc.digest)
        self._record.senders.clear()
        return bool(senders)

    def _at(self, place: Place | None) -> Blob:
        """The blob there, or at home: one for all parts, since it learns where it is led."""
        if place not in self._blobs:
            self._blobs[place] = cast(Place, place).store.fetch(self._desc)
        return self._blobs[place]


class _Relay:
    """A stream that goes on with the next place, at the offset that it has reached."""

    def __init__(
        self,
        desc: Descriptor,
        begin: Callable[[Place | None, int], AbstractContextManager[BinaryIO | PartStream]],
        record: _Record,
    ) -> None:
        self._desc = desc
        self._begin = begin
        self._record = record
        self._places: Iterator[Place] = iter(())
        self._place: Place | None = None
        self._offset = self._end = 0
        self._opened = ExitStack()
        self._stream: BinaryIO | PartStream | None = None
        self._aborted = False

    @contextmanager
    def reading(self, places: Iterator[Place], offset: int, end: int) -> Iterator[None]:
        """Read from one offset to another in the block."""
        self._places, self._offset, self._end = places, offset, end
        try:
            yield
        finally:
            self._close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            RangeIgnoredError: parts are read, and who is asked sends only the whole.
            OcimlpackError: the registry's own, once nobody else is left.
        """
        while True:
            try:
                chunk = (self._stream or self._next()).read(size)
                if not chunk and self._place and self._offset < self._end:
                    raise UnavailableError(f"{self._desc.digest} ends early there")
            except RangeIgnoredError:
                raise
            except OcimlpackError as error:
                if self._place is None or self._aborted:
                    raise
                self._place.failed(error)
                self._record.failed.add(self._place)
                self._close()
                continue
            if chunk and self._place:
                self._place.worked()
                self._record.senders.add(self._place)
            self._offset += len(chunk)
            return chunk

    def abort(self) -> None:
        """End a part, from any thread: a `read` that waits fails, and nobody else is asked."""
        self._aborted = True
        stream = self._stream
        if stream is not None:
            cast(PartStream, stream).abort()

    def _next(self) -> BinaryIO | PartStream:
        self._place = next(self._places, None)
        self._stream = self._opened.enter_context(self._begin(self._place, self._offset))
        if self._aborted:  # looked at last: by now `abort` finds the stream
            raise UnavailableError(f"the part of {self._desc.digest} is not wanted any more")
        return self._stream

    def _close(self) -> None:
        self._stream = None
        self._opened.close()


def _usable(places: Sequence[Place]) -> Iterator[Place]:
    """Those that are worth asking when it is their turn."""
    return (place for place in places if place.usable)


def _read_first(places: Sequence[Place], desc: Descriptor) -> bytes | None:
    """The content from the first mirror that has it, verified; None if none does."""
    for place in _usable(places):
        with place.trying():
            try:
                raw = read_all(place.store.fetch(desc), desc)
            except IntegrityError:
                place.lied(desc.digest)
                continue
            place.worked()
            return raw
    return None


def _describe(store: ReadableStore, digest: Digest) -> Descriptor:
    """What has this digest. Size and type are taken from the bytes: a mirror may claim anything."""
    with store.fetch(Descriptor(OCI_MANIFEST, digest, 0)).open() as stream:
        raw = stream.read()
    sized = Descriptor(OCI_MANIFEST, digest, len(raw))
    read_all(BytesBlob(raw), sized)
    return Descriptor(manifests.parse(raw).descriptor.media_type, digest, len(raw))
