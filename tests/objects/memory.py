"""A bucket in memory that errs as it is told: each verb of `Objects`, once."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ocimlpack.errors import InvalidContentError, NotFoundError, UnavailableError
from ocimlpack.stores.objects.base import (
    ABSENT,
    ConditionError,
    GoneError,
    Label,
    Piece,
    Stat,
    Unfinished,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stored:
    content: bytes
    label: Label
    modified: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'


@dataclass
class Upload:
    key: str
    label: Label
    began: float
    pieces: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Fault:
    """Something that goes wrong with calls of a verb.

    Attributes:
        verb: the method's name.
        key: what the key begins with.
        nth: the first such call that is hit, from 1.
        times: how many are hit from there on; None for all.
        after: fail after the work was done: the answer got lost.
        cut: let a stream break after so many bytes.
        error: what is raised.
        hits: how often it struck.
    """

    verb: str
    key: str = ""
    nth: int = 1
    times: int | None = 1
    after: bool = False
    cut: int | None = None
    error: Callable[[], Exception] = lambda: UnavailableError("the service fails")
    hits: int = 0
    seen: int = 0

    def strikes(self, verb: str, key: str) -> bool:
        if verb != self.verb or not key.startswith(self.key):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.seen >= self.nth + self.times):
            return False
        self.hits += 1
        return True


@dataclass(frozen=True)
class Call:
    verb: str
    key: str
    size: int = 0


class Bucket:
    """What the service has, however many clients it has.

    Attributes:
        objects: by key.
        uploads: by name.
        calls: everything that was asked, in order.
        faults: what goes wrong.
        before: called before each call, outside of the lock, to let something happen in between.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.before: Callable[[Call], None] = lambda _: None
        self.clock: Callable[[], float] = time.time
        self.tells_checksums = True
        self.heeds_conditions = True
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)

    def fault(self, verb: str, key: str = "", **rule: object) -> Fault:
        fault = Fault(verb, key, **rule)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def count(self, verb: str, key: str = "") -> int:
        return len([each for each in self.calls if each.verb == verb and each.key.startswith(key)])

    def brought(self) -> int:
        """Bytes of parts and objects that were sent here."""
        return sum(each.size for each in self.calls if each.verb in {"put", "put_part"})

    def age(self, seconds: float, prefix: str = "") -> None:
        """Let objects, and uploads, be older than they are."""
        for key, stored in self.objects.items():
            if key.startswith(prefix):
                self.objects[key] = Stored(stored.content, stored.label, stored.modified - seconds)
        for upload in self.uploads.values():
            upload.began -= seconds


class MemoryObjects:
    """One client of a bucket in memory."""

    def __init__(self, bucket: Bucket, place: str = "memory://models") -> None:
        self.bucket = bucket
        self.place = place
        self.origin = place
        self.closed = False

    def stat(self, key: str) -> Stat | None:
        return self._do("stat", key, lambda: self._stat(key))

    def _stat(self, key: str) -> Stat | None:
        stored = self.bucket.objects.get(key)
        return (
            Stat(key, len(stored.content), stored.etag, stored.modified)
            if stored is not None
            else None
        )

    def read(self, key: str, limit: int) -> tuple[bytes, Stat] | None:
        def work() -> tuple[bytes, Stat] | None:
            stat = self._stat(key)
            if stat is None:
                return None
            if stat.size > limit:
                raise InvalidContentError(f"{key} is larger than {limit:,} bytes")
            return self.bucket.objects[key].content, stat

        return self._do("read", key, work)

    def stream(self, key: str, start: int, end: int, *, lasting: bool) -> _Stream:
        cut = next(
            (
                fault
                for fault in self.bucket.faults
                if fault.cut is not None and fault.strikes("stream", key)
            ),
            None,
        )

        def work() -> _Stream:
            if key not in self.bucket.objects:
                raise NotFoundError(f"no {key} in {self.place}")
            content = self.bucket.objects[key].content[start:end]
            return _Stream(content, cut.cut if cut else None)

        return self._do("stream", key, work, end - start)

    def put(self, key: str, content: bytes, label: Label, condition: str | None = None) -> str:
        def work() -> str:
            self._check(key, condition)
            self.bucket.objects[key] = Stored(bytes(content), label, self.bucket.clock())
            return self.bucket.objects[key].etag

        return self._do("put", key, work, len(content))

    def list(self, prefix: str) -> Iterator[Stat]:
        def work() -> Sequence[Stat]:
            keys = sorted(key for key in self.bucket.objects if key.startswith(prefix))
            return [stat for key in keys if (stat := self._stat(key))]

        yield from self._do("list", prefix, work)

    def folders(self, prefix: str = "") -> Sequence[str]:
        def work() -> Sequence[str]:
            rest = [
                key.removeprefix(prefix) for key in self.bucket.objects if key.startswith(prefix)
            ]
            return sorted({f"{each.partition('/')[0]}/" for each in rest if "/" in each})

        return self._do("folders", prefix, work)

    def delete(self, keys: Sequence[str]) -> None:
        assert len(keys) <= 1000

        def work() -> None:
            for key in keys:
                self.bucket.objects.pop(key, None)

        self._do("delete", keys[0], work)

    def begin(self, key: str, label: Label) -> str:
        def work() -> str:
            name = f"upload-{next(self.bucket.numbers)}"
            self.bucket.uploads[name] = Upload(key, label, self.bucket.clock())
            return name

        return self._do("begin", key, work)

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        def work() -> Piece:
            self._upload(key, upload).pieces[number] = bytes(content)
            assert hashlib.sha256(content).digest() == sha256
            return self._piece(number, bytes(content))

        return self._do("put_part", key, work, len(content))

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        def work() -> Sequence[Piece] | None:
            if upload not in self.bucket.uploads:
                return None
            found = self._upload(key, upload).pieces
            return [self._piece(number, found[number]) for number in sorted(found)]

        return self._do("pieces", key, work)

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None = None
    ) -> None:
        def work() -> None:
            found = self._upload(key, upload)
            numbers = [piece.number for piece in pieces]
            assert numbers == sorted(set(numbers))
            for piece in pieces:
                assert self._piece(piece.number, found.pieces[piece.number]).etag == piece.etag
            self._check(key, condition)
            content = b"".join(found.pieces[number] for number in numbers)
            # As S3 does: the time is that of the beginning.
            self.bucket.objects[key] = Stored(content, found.label, found.began)
            del self.bucket.uploads[upload]

        self._do("complete", key, work)

    def cancel(self, key: str, upload: str) -> None:
        self._do("cancel", key, lambda: self.bucket.uploads.pop(upload, None))

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        def work() -> Sequence[Unfinished]:
            return [
                Unfinished(upload.key, name, upload.began)
                for name, upload in self.bucket.uploads.items()
                if upload.key.startswith(prefix)
            ]

        yield from self._do("uploads", prefix, work)

    def close(self) -> None:
        self.closed = True

    def _upload(self, key: str, upload: str) -> Upload:
        found = self.bucket.uploads.get(upload)
        if found is None or found.key != key:
            raise GoneError(f"no upload {upload}")
        return found

    def _check(self, key: str, condition: str | None) -> None:
        if condition is None or not self.bucket.heeds_conditions:
            return
        stored = self.bucket.objects.get(key)
        if (stored.etag if stored else ABSENT) != condition:
            raise ConditionError(f"{key} is not as it was")

    def _piece(self, number: int, content: bytes) -> Piece:
        md5 = hashlib.md5(content).hexdigest()
        sha256 = hashlib.sha256(content).hexdigest() if self.bucket.tells_checksums else ""
        return Piece(number, len(content), f'"{md5}"', sha256, md5)

    def _do(self, verb: str, key: str, work: Callable[[], Result], size: int = 0) -> Result:
        call = Call(verb, key, size)
        self.bucket.before(call)
        with self.bucket.lock:
            self.bucket.calls.append(call)
            fault = next(
                (
                    each
                    for each in self.bucket.faults
                    if each.cut is None and each.strikes(verb, key)
                ),
                None,
            )
            if fault and not fault.after:
                raise fault.error()
            result = work()
            if fault:
                raise fault.error()
            return result


class _Stream:
    def __init__(self, content: bytes, cut: int | None) -> None:
        self._content = content
        self._at = 0
        self._cut = cut

    def read(self, size: int) -> bytes:
        if self._cut is not None and self._at >= self._cut:
            raise UnavailableError("the connection broke")
        until = self._at + size if self._cut is None else min(self._at + size, self._cut)
        piece = self._content[self._at : until]
        self._at += len(piece)
        return piece

    def abort(self) -> None:
        self._cut = 0

    def close(self) -> None:
        pass
