"""Reading a layer that is an archive: as a stream, once, and only what is harmless.

The format is that of https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html (ustar and
its extended headers) with GNU's long names. The standard library's reader is not used: it takes a
damaged archive for one that ends there, and reads headers of any size into memory.
"""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.names import check_path
from ocimlpack.model.zstd import unzstd
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.mediatypes import Encoding
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.verify import chunks

_BLOCK: Final = 512
_MAX_HEADER: Final = 1024 * 1024
"""Bytes of an extended header: Go's archive/tar accepts as many."""

_MIN_LIMIT: Final = 64 * 1024 * 1024
_MAX_RATIO: Final = 100
_NUMBER: Final = re.compile(rb" *([0-7]*)[ \0]*\Z")
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,8}) ")
_FILES: Final = frozenset({b"0", b"\0", b"7"})
_LINKS: Final = frozenset({b"1", b"2"})
_BODILESS: Final = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
"""Types that have no content, whatever their size says: Go's archive/tar reads them so, too."""

_RECORDS: Final = ("path", "size", "linkpath")

TAKING: Final = ".wh."
"""How names begin in a layer of an image that take something of earlier layers away:
https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts"""

_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a named pipe",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A file or a folder in an archive.

    Attributes:
        path: its path, checked. Empty for what takes the place of the folder that is read alone.
        size: its bytes; 0 for a folder.
        executable: whether anybody may run it.
        link: where a link leads: a path that is checked, from the same folder as `path`; None for
            what is no link.
        hard: whether that is another name of a file of the same archive, which came before.
        start: where a file's content begins in what the archive unpacks to.
    """

    path: str
    size: int
    executable: bool
    is_folder: bool
    link: str | None = None
    hard: bool = False
    start: int = 0


Entry = tuple[Item, Iterator[bytes]]


def unpacked_limit(size: int) -> int:
    """The most bytes that an archive of so many bytes may unpack to, its headers counted.

    Text compresses to a tenth and seldom to less than a fiftieth; gzip can reach a thousandth.
    """
    return max(_MIN_LIMIT, _MAX_RATIO * size)


def read(
    stream: BinaryIO, desc: Descriptor, encoding: Encoding, below: str | None = None
) -> Iterator[tuple[Item, Iterator[bytes]]]:
    """The files and folders of an archive, in order, each file with its content.

    Args:
        stream: the archive.
        desc: what it has to be.
        encoding: how it is compressed.
        below: for a layer of an image: the folder at its top that is read alone. Paths are those
            from there. What is elsewhere is passed over, whatever it is; and links that stay within
            the folder are no error.

    What is not read of a content before the next item is asked for is passed over. All of the
    stream is read and held against the descriptor before the iteration ends, so nothing that was
    read is to be trusted before that.

    Raises:
        IntegrityError: the stream is not what the descriptor says.
        InvalidContentError: it is, and it is no archive, a damaged one, one that holds anything but
            files and folders with safe names, one that unpacks to out of proportion much, or, with
            `below`, one with a link that leads out of the folder.
        UnsupportedError: a compression that this installation can't read.
    """
    verified = chunks(stream, desc)
    try:
        unpacked = _limited(_decompressed(verified, encoding), desc)
        pieces = _Pieces(unpacked)
        yield from _items(pieces) if below is None else _items_below(pieces, below)
        _drain(unpacked)
    except InvalidContentError as error:
        # Whether the archive was made like that or was damaged on its way, only its digest tells.
        _drain(verified)
        raise InvalidContentError(
            f"archive {desc.digest}: {error.message}", digest=str(desc.digest)
        ) from error
    # Whether a decompressor reads on after its end is its own affair; the digest is over all.
    _drain(verified)


def places(stream: BinaryIO, size: int, below: str | None = None) -> Iterator[tuple[Item, int]]:
    """The files and folders of a tar archive that can be sought in, and where their bytes begin.

    Only headers are read, so nothing is held against a digest.

    Args:
        stream: the archive.
        size: its bytes.
        below: as for `read`.

    Raises:
        InvalidContentError: as `read` says.
    """
    pieces = _Seeking(stream, size)
    for item, _ in _items_below(pieces, below) if below else _items(pieces):
        yield item, pieces.at


def unpacked(stream: BinaryIO, desc: Descriptor, encoding: Encoding) -> Iterator[bytes]:
    """What an archive unpacks to, headers and all, not held against its digest.

    Raises:
        InvalidContentError: damaged, or out of proportion much.
        UnsupportedError: a compression that this installation can't read.
    """
    return _limited(_decompressed(iter(lambda: stream.read(CHUNK), b""), encoding), desc)


def takes_away(path: str) -> bool:
    """Whether what has this path in a layer of an image is no file, but takes one away."""
    return path.rpartition("/")[2].startswith(TAKING)


def _drain(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass


def _decompressed(pieces: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    if encoding == "tar+gzip":
        return _gunzip(pieces)
    if encoding == "tar+zstd":
        return unzstd(pieces)
    return pieces


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 1952: members one after the other, and zeros after the last are padding."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            while piece:
                if inflater.eof:
                    if not (piece := piece.lstrip(b"\0")):
                        break
                    inflater = zlib.decompressobj(wbits=31)
                yield inflater.decompress(piece, CHUNK)
                piece = inflater.unconsumed_tail or inflater.unused_data
        while not inflater.eof and (rest := inflater.decompress(b"", CHUNK)):
            yield rest
    except zlib.error as error:
        raise InvalidContentError("it is not valid gzip") from error
    if not inflater.eof:
        raise InvalidContentError("its gzip stream breaks off")


def _limited(pieces: Iterator[bytes], desc: Descriptor) -> Iterator[bytes]:
    limit, seen = unpacked_limit(desc.size), 0
    for piece in pieces:
        seen += len(piece)
        if seen > limit:
            raise InvalidContentError(f"its {desc.size:,} bytes unpack to more than {limit:,}")
        yield piece


class _Pieces:
    """Pieces of any size, read in sizes as they are needed.

    Attributes:
        at: how many bytes were read.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.at = 0

    def read(self, size: int) -> bytes:
        """At least one byte and at most `size`, none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        self.at += len(taken)
        return bytes(taken)

    def exactly(self, size: int) -> bytes:
        return b"".join(self.up_to(size))

    def up_to(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes."""
        while size:
            if not (piece := self.read(min(size, CHUNK))):
                raise InvalidContentError("it breaks off in the middle of a file or a header")
            size -= len(piece)
            yield piece

    def skip(self, content: Iterator[bytes], size: int) -> None:
        """Pass over what is left of a content of `size` bytes."""
        _drain(content)

    def block(self) -> bytes | None:
        """The next header; None at the end, which is the stream's or two blocks of zeros."""
        if not (begin := self.read(_BLOCK)):
            return None
        block = begin + self.exactly(_BLOCK - len(begin))
        if any(block):
            return block
        if (begin := self.read(_BLOCK)) and any(begin + self.exactly(_BLOCK - len(begin))):
            raise InvalidContentError("it goes on after a block of zeros")
        return None


class _Seeking(_Pieces):
    """An archive in which contents are stepped over.

    Attributes:
        at: where the next byte is.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(iter(()))
        self._stream = stream
        self._size = size
        self.at = 0

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self.at += len(content)
        return content

    def skip(self, content: Iterator[bytes], size: int) -> None:
        if size > self._size - self.at:
            raise InvalidContentError("it breaks off in the middle of a file or a header")
        self.at += size
        self._stream.seek(self.at)


@dataclass(frozen=True, slots=True)
class _Header:
    """What an entry's headers say.

    Attributes:
        kind: its type, one byte.
        path: its path as it is written.
        size: bytes of content.
        mode: its permissions.
        target: where a link leads.
    """

    kind: bytes
    path: bytes
    size: int
    mode: bytes
    target: bytes

    @property
    def is_folder(self) -> bool:
        # Archives from before the folder's type was invented mark one by the slash.
        return self.kind == b"5" or (self.kind in _FILES and self.path.endswith(b"/"))

    @property
    def executable(self) -> bool:
        return not self.is_folder and bool(_number(self.mode) & 0o111)

    def refused(self) -> InvalidContentError:
        what = _KINDS.get(self.kind, f"an entry of type {self.kind!r}")
        shown = self.path.decode(errors="replace")
        return InvalidContentError(f"{shown!r:.150} is {what}, not a file or a folder")


def _headers(stream: _Pieces) -> Iterator[_Header]:
    """Each entry's headers. Whoever asks for the next one has read this one's content."""
    extended: dict[str, bytes] = {}
    while (block := stream.block()) is not None:
        _check_sum(block)
        kind = block[156:157]
        size = _number(block[124:136])
        if kind in {b"x", b"g", b"L", b"K"}:
            extended |= _extension(kind, _content(stream, size))
            continue
        if "size" in extended:
            size = _decimal(extended["size"])
        path = extended.get("path", _own_name(block))
        target = extended.get("linkpath", block[157:257].partition(b"\0")[0])
        extended = {}
        yield _Header(kind, path, size, block[100:108], target)


def _items(stream: _Pieces) -> Iterator[Entry]:
    for header in _headers(stream):
        path = _text(header.path)
        if header.kind not in _FILES and not header.is_folder:
            raise header.refused()
        path = _relative(path) if header.is_folder else _relative(path) or path
        if header.is_folder and header.size:
            raise InvalidContentError(f"the folder {path!r:.150} has content")
        content, at = stream.up_to(header.size), stream.at
        if path or not header.is_folder:
            executable, is_folder = header.executable, header.is_folder
            yield Item(check_path(path), header.size, executable, is_folder, start=at), content
        stream.skip(content, header.size)
        stream.exactly(-header.size % _BLOCK)


def _items_below(stream: _Pieces, below: str) -> Iterator[Entry]:
    """Only what is in one folder. Elsewhere there may be a whole operating system."""
    covering = {below.encode(), f"{TAKING}{below}".encode(), b".wh..wh..opq"}
    top = f"{below}/".encode()
    for header in _headers(stream):
        # Sparse files of GNU's old kind have further headers behind the first one.
        if header.kind == b"S":
            raise header.refused()
        size = header.size if header.kind not in _BODILESS else 0
        path = _from_top(header.path)
        end = _led_to(path)
        if end != path and (end in covering or end.startswith(top)):
            raise InvalidContentError(f"{path!r:.150} leads to /{below} by a detour")
        content, at = stream.up_to(size), stream.at
        if path.startswith(top):
            yield replace(_item_below(header, path, size, below), start=at), content
        elif path in covering and not header.is_folder:
            yield Item("", 0, executable=False, is_folder=False), content
        stream.skip(content, size)
        stream.exactly(-size % _BLOCK)


def _item_below(header: _Header, path: bytes, size: int, below: str) -> Item:
    name = check_path(_text(path).removeprefix(f"{below}/"))
    if header.kind in _LINKS:
        if takes_away(name):  # wherever it leads: engines look at the name alone
            return Item(name, 0, executable=False, is_folder=False)
        target = _target(header, name, below)
        return Item(name, 0, False, False, target, hard=header.kind == b"1")
    if header.kind not in _FILES and not header.is_folder:
        raise header.refused()
    return Item(name, size, header.executable, header.is_folder)


def _target(header: _Header, name: str, below: str) -> str:
    """Where a link leads, from the folder that is read; the top of the image is above it.

    Raises:
        InvalidContentError: out of that folder.
    """
    text = _text(header.target)
    # A hard link's target is a path in the archive; a symbolic link's is seen from where it is.
    start = "" if header.kind == b"1" or text.startswith("/") else f"{below}/{name}/.."
    path = posixpath.normpath(f"/{start}/{text}").lstrip("/")
    if not path.startswith(f"{below}/"):
        raise InvalidContentError(f"{name!r:.150} is a link to {text!r:.150}, out of /{below}")
    return check_path(path.removeprefix(f"{below}/"))


def _content(stream: _Pieces, size: int) -> bytes:
    if size > _MAX_HEADER:
        raise InvalidContentError(f"an extended header has {size:,} bytes")
    content = stream.exactly(size)
    stream.exactly(-size % _BLOCK)
    return content


def _extension(kind: bytes, content: bytes) -> dict[str, bytes]:
    """What an extended header says about the file after it."""
    if kind in {b"L", b"K"}:
        return {"path" if kind == b"L" else "linkpath": content.partition(b"\0")[0]}
    found = _records(content)
    if any(key.startswith(b"GNU.sparse.") for key in found):
        raise InvalidContentError("it holds a sparse file")
    wanted = {key: found[key.encode()] for key in _RECORDS if key.encode() in found}
    if kind == b"g":
        if wanted:
            raise InvalidContentError("a header gives one name or size to all files")
        return {}
    return wanted


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE` and a line feed, the length counting all of it."""
    found: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        match = _RECORD.match(content, start)
        end = start + int(match[1]) if match else 0
        if not match or end <= match.end() or end > len(content) or content[end - 1 : end] != b"\n":
            raise InvalidContentError("an extended header can't be read")
        key, equals, value = content[match.end() : end - 1].partition(b"=")
        if not equals:
            raise InvalidContentError("an extended header can't be read")
        found[key] = value
        start = end
    return found


def _check_sum(block: bytes) -> None:
    expected = _number(block[148:156])
    blank = block[:148] + b" " * 8 + block[156:]
    # Early writers added the bytes up as signed ones.
    if expected != sum(blank) and expected != sum(blank) - 256 * sum(byte > 127 for byte in blank):
        raise InvalidContentError("a header's checksum is wrong, or it is no tar archive")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's binary form, for what octal digits have no room for
        return int.from_bytes(field[1:])
    match = _NUMBER.match(field)
    if not match:
        raise InvalidContentError("a header has a number that can't be read")
    return int(match[1] or b"0", 8)


def _decimal(value: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", value):
        raise InvalidContentError("a header has a number that can't be read")
    return int(value)


def _own_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidContentError(f"a name in it is not UTF-8: {value[:60]!r}") from error


def _from_top(path: bytes) -> bytes:
    """A path in an image's layer as one from the top of the image."""
    while path.startswith((b"/", b"./")):
        path = path[1:]
    return path.rstrip(b"/")


def _led_to(path: bytes) -> bytes:
    """Where engines put such a path of an image's layer: they follow `..` within the image."""
    return posixpath.normpath(b"/" + path).lstrip(b"/") if b".." in path else path


def _relative(path: str) -> str:
    """Without the `./` that names often begin with and the `/` that folders end with."""
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    path = path.removesuffix("/")
    return "" if path == "." else path
