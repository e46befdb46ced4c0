from __future__ import annotations

import io
import random
import sys
from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError, UnsupportedError
from ocimlpack.model import archive
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK
from tests.model.artifacts import member, tar


@pytest.fixture
def zstandard() -> Any:
    return pytest.importorskip("zstandard", reason="pip install zstandard")


def read(content: bytes) -> dict[str, bytes]:
    items = archive.read(io.BytesIO(content), Descriptor.of(content, "a/b"), "tar+zstd")
    return {item.path: b"".join(pieces) for item, pieces in items}


def test_an_archive_in_several_frames_is_read(zstandard: Any) -> None:
    large = random.Random(1).randbytes(3 * CHUNK + 17)
    packed = tar(member("large", large), member("b", b"x"))
    frames = zstandard.compress(packed[:CHUNK]) + zstandard.compress(packed[CHUNK:])
    assert read(frames) == {"large": large, "b": b"x"}


def test_what_is_not_zstandard_is_refused(zstandard: Any) -> None:
    with pytest.raises(InvalidContentError, match="not valid Zstandard"):
        read(b"not an archive" * 100)


def test_an_archive_that_unpacks_to_out_of_proportion_much_is_refused(zstandard: Any) -> None:
    bomb = zstandard.compress(tar(member("zeros", bytes(70 * 1024 * 1024))))
    with pytest.raises(InvalidContentError, match="unpack to more than 67,108,864"):
        read(bomb)


def test_a_frame_that_wants_much_memory_is_refused(zstandard: Any) -> None:
    options = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=options).compressobj()
    frame = compressor.compress(tar(member("a", b"x"))) + compressor.flush()
    with pytest.raises(InvalidContentError, match="not valid Zstandard"):
        read(frame)


def test_without_a_way_to_read_zstandard_it_is_said_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UnsupportedError, match="Zstandard") as caught:
        read(b"x")
    assert caught.value.hint == "pip install zstandard"
