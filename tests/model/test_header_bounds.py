"""Small files that use the same bytes over and over: what they cost is bounded all the same."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import headers
from ocimlpack.model.headers import (
    Header,
    Tensor,
    Tensors,
    hdf5,
    listed,
    objects,
    pickles,
    saved_model,
)
from ocimlpack.model.headers.pickles import Steps, named
from ocimlpack.model.headers.table import READERS
from ocimlpack.stores.range_stream import buffered
from tests.model import test_other_headers as others
from tests.model import torch_files, weights
from tests.model.weights import message, varint


def read(format: str, content: bytes) -> Header:
    return READERS[format](io.BytesIO(content), len(content))


def refused(format: str, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        read(format, content)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Tells the bytes that were taken at most so far."""
    tracemalloc.start(1)
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def four_bytes(value: int) -> bytes:
    return struct.pack("<I", value)


# Pickles.


@pytest.mark.parametrize("content", [b"cx\ny\n)R2b.", b"cx\ny\n)R" * 5000 + b"b" * 4999 + b"."])
def test_objects_that_are_each_other_s_state_are_gone_through(content: bytes) -> None:
    found = read("pickle", content)
    assert found.facts == {"class": "x.y", "imports": "x.y"}
    value = Steps(io.BytesIO(content), len(content)).follow()
    assert [path for path, _ in named(value)][:1] == [""]


def test_objects_with_one_state_are_gone_through_once() -> None:
    many = 1000
    state = b"](" + b"]" * many + b"eq\x00"
    content = state + b"cx\ny\nq\x01](" + b"h\x01)Rh\x00b" * many + b"e."
    value = Steps(io.BytesIO(content), len(content)).follow()
    calls = 0

    class Counted(list[object]):
        def __iter__(self) -> Iterator[object]:
            nonlocal calls
            calls += 1
            return super().__iter__()

    shared = Counted(value[0].state)
    for each in value:
        each.state = shared
    assert sum(1 for _ in named(value)) == many
    assert calls == 1


def test_what_ordered_dictionaries_are_made_from_counts_as_steps(
    monkeypatch: pytest.MonkeyPatch, peak: Callable[[], int]
) -> None:
    monkeypatch.setattr(pickles, "_MAX_STEPS", 20_000)
    pairs = b"".join(b"J" + four_bytes(n) + b"N\x86" for n in range(2000))
    content = b"](" + pairs + b"e\x85q\x00ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00R" * 2000
    found = read("pickle", content + b".")
    assert found.facts["not followed"] == "its pickle has more than 20,000 steps"
    assert peak() < 10 * 2**20


def test_of_long_names_no_more_is_joined_than_is_shown(peak: Callable[[], int]) -> None:
    names = b"".join(
        b"X" + four_bytes(4096) + b"%04d" % n * 1024 + b"r" + four_bytes(n) for n in range(100)
    )
    pairs = b"".join(
        b"j" + four_bytes(a) + b"j" + four_bytes(b) + b"\x93)R"
        for a in range(100)
        for b in range(99)
    )
    found = read("pickle", b"](" + names + pairs + b"e.")
    assert len(found.facts["imports"]) == 1001
    assert peak() < 20 * 2**20


def test_text_in_arrays_of_objects_counts_with_the_text_around_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pickles, "_MAX_KEPT", 3000)
    inner = others.wrapper("(I3\nt", "O8", b"V" + b"x" * 1000 + b"\n.")
    found = read("joblib", b"](" + (inner.removeprefix(b"\x80\x02")[:-1]) * 4 + b"e.")
    assert found.facts["not followed"] == "its pickle has more than 3,000 bytes of text"


def test_long_lines_of_a_compressed_pickle_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b"\x80\x02(" + b"".join(b"V%d" % n + b"x" * 60_000 + b"\n" for n in range(20)) + b"l."
    calls = 0
    original = objects._Unpacking.read

    def counted(self: objects._Unpacking, size: int = -1) -> bytes:
        nonlocal calls
        calls += 1
        return original(self, size)

    monkeypatch.setattr(objects._Unpacking, "read", counted)
    assert read("pickle", zlib.compress(content)).facts == {"class": "list"}
    assert calls < 100
    refused("pickle", zlib.compress(b"V" + b"x" * 70_000 + b"\n."), "breaks off")
    refused("pickle", zlib.compress(b"Vxyz"), "breaks off")


def test_a_type_with_digits_of_another_script_is_not_known() -> None:
    refused("joblib", others.wrapper("(I3\nt", "V²", bytes(6)), "has a type that isn't known")
    found = read("joblib", others.wrapper("(I3\nt", "V2", bytes(6)))
    assert found.tensors == {"array": Tensor("v2", 3, (3,))}


def test_a_storage_of_an_old_checkpoint_that_is_there_twice_is_refused() -> None:
    value = torch_files.dictionary(
        {key: torch_files.tensor(key, (2,), legacy=True) for key in "01"}
    )
    content = torch_files.legacy(value, {"0": ("Float", 2), "1": ("Float", 2)})
    once, twice = (
        torch_files.pickled(b"](" + b"".join(map(torch_files.text, each)) + b"e")
        for each in ("01", "00")
    )
    assert content.count(once) == 1
    refused("pt", content.replace(once, twice) + bytes(100), "outside what is stored")


def test_behind_a_storage_of_a_type_that_isn_t_known_no_place_is_known() -> None:
    value = torch_files.dictionary({"w": torch_files.tensor("0", (2,), "Byte", legacy=True)})
    content = torch_files.legacy(value, {"0": ("Byte", 2)}).replace(b"ByteStorage", b"TeraStorage")
    with pytest.raises(headers.UnknownFormError):
        read("pt", content)


# HDF5.


def group(entries: list[int], leaves: int = 1, extra: bytes = b"", at: int = 0) -> bytes:
    """A file whose group at the top has entries at these addresses, in each of so many leaves."""
    raw = bytearray(max(40_000 + 40 * len(entries), at + len(extra)))
    top = struct.pack("<BxHII4x", 1, 1, 1, 24) + others.h5_message(
        17, struct.pack("<QQ", 1000, 600)
    )
    raw[:96], raw[96 : 96 + len(top)] = others.superblock(), top
    raw[600:632] = b"HEAP\0\0\0\0" + struct.pack("<QQQ", 16, 0, 700)
    raw[1000:1024] = b"TREE\0\0" + struct.pack("<HQQ", leaves, 0, 0)
    for n in range(leaves):
        raw[1032 + 16 * n : 1040 + 16 * n] = struct.pack("<Q", 30_000)
    raw[30_000:30_008] = b"SNOD\x01\0" + struct.pack("<H", len(entries))
    for n, address in enumerate(entries):
        raw[30_008 + 40 * n : 30_024 + 40 * n] = struct.pack("<QQ", 0, address)
    raw[at : at + len(extra)] = extra
    return bytes(raw)


def elsewhere(count: int, address: int, length: int) -> bytes:
    """Objects whose headers go on at one and the same place."""
    head = struct.pack("<BxHII4x", 1, 65535, 1, 24)
    return (head + others.h5_message(16, struct.pack("<QQ", address, length))) * count


def test_names_of_what_was_seen_already_count_as_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_OBJECTS", 1000)
    assert read("keras", group([96] * 90, leaves=11)).tensors == {}
    refused("keras", group([96] * 100, leaves=11), "more than 1,000 parts")


def test_messages_of_all_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_MESSAGES", 1000)
    shared = others.h5_message(12, struct.pack("<BBHHH", 1, 0, 8, 8, 8) + bytes(24)) * 20
    extra = elsewhere(60, 60_000, len(shared)).ljust(10_000, b"\0") + shared
    addresses = [50_000 + 40 * n for n in range(60)]
    assert read("keras", group(addresses[:10], extra=extra, at=50_000)).tensors == {}
    refused("keras", group(addresses, extra=extra, at=50_000), "say more than can be")


def test_bytes_of_all_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_READ", 2**20)
    extra = elsewhere(60, 60_000, 100_000).ljust(110_000, b"\0")
    refused(
        "keras",
        group([50_000 + 40 * n for n in range(60)], extra=extra, at=50_000),
        "say more than",
    )


def test_datasets_have_no_more_dimensions_than_the_library_allows() -> None:
    assert len(others.objects_of(others.h5(others.dataset((1,) * 32, size=4), 3))[0].path) == 0
    refused("keras", others.h5(others.dataset((0,) * 33, size=0), 3), "has 33 dimensions")


def test_an_attribute_without_a_type_is_no_text() -> None:
    name = b"keras_version\0"
    content = struct.pack("<BBHHH", 1, 0, len(name), 0, 0) + name.ljust(16, b"\0") + bytes(8)
    assert read("keras", others.h5(others.h5_message(12, content), 1)).facts == {}


def test_a_heap_is_not_gone_through_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_READ", 10**9)
    many = 70_000
    heap = b"GCOL\0\0\0\0" + struct.pack("<Q", 16 * many) + struct.pack("<HxxxxxxQ", 1, 0) * many
    raw = others.superblock().ljust(1000, b"\0") + heap
    file = hdf5.Hdf5(io.BytesIO(raw), len(raw))
    text = hdf5.Attribute(b"\x09", struct.pack("<IQI", 5, 1000, 2))
    reads = 0
    original = file._at

    def counted(address: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        return original(address, length)

    monkeypatch.setattr(file, "_at", counted)
    with pytest.raises(InvalidContentError, match="an attribute is damaged"):
        file.text(text, 100)
    assert reads <= 65_537  # an index has two bytes


# TensorFlow, ONNX and the others.


def index(handles: list[tuple[int, int]], data: bytes) -> bytes:
    block = b"".join(
        varint(0) + varint(0) + varint(len(handle)) + handle
        for handle in (varint(begin) + varint(extent) for begin, extent in handles)
    ) + four_bytes(0)
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(block))
    raw = data + block + bytes(5) + footer.ljust(40, b"\0")
    return raw + struct.pack("<Q", 0xDB4775248B80FB57)


def test_an_index_names_each_block_once() -> None:
    block = bytes(3) * 10 + four_bytes(0)
    data = (block + bytes(5)) * 2
    second = len(block) + 5
    assert read("tensorflow", index([(0, len(block)), (second, len(block))], data)).tensors == {}
    refused("tensorflow", index([(0, len(block))] * 2, data), "index is damaged")
    refused("tensorflow", index([(second, len(block)), (0, len(block))], data), "index is damaged")


def test_entries_of_an_index_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_model, "_MAX_ENTRIES", 100)
    block = bytes(3) * 101 + four_bytes(0)
    refused("tensorflow", index([(0, len(block))], block + bytes(5)), "more than 100 entries")


def test_tensors_have_no_more_dimensions_than_can_be() -> None:
    for packed in (True, False):
        assert read("onnx", weights.onnx(weights.initializer("w", 1, (1,) * 64, packed=packed)))
        content = weights.onnx(weights.initializer("w", 1, (1,) * 65, packed=packed))
        refused("onnx", content, "more dimensions than can be")
    variable = others.variable(1, *(1,) * 65)
    refused("tensorflow", others.index([(b"a", variable)]), "more dimensions than can be")


GRAPH = message(7, b"")
WASTE = b"x" * 60_000


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("onnx", message(2, WASTE) * 500 + GRAPH),
        ("onnx", message(14, b"".join(message(n, WASTE) for n in range(3, 500))) + GRAPH),
        ("onnx", message(7, message(2, WASTE) + message(11, message(1, WASTE)) * 200)),
        (
            "tensorflow",
            message(2, b"".join(
                message(5, message(1, b"%d" % n)
                        + message(2, message(1, message(1, WASTE))) * 20)
                for n in range(25)
            )),
        ),
    ],
    ids=["producers", "fields", "inputs", "signatures"],
)  # fmt: skip
def test_long_texts_that_nobody_will_see_are_not_kept(
    format: str, content: bytes, peak: Callable[[], int]
) -> None:
    facts = read(format, content).facts
    assert all(len(text) <= 2100 for text in facts.values())
    assert peak() < 14 * 2**20


def test_numbers_that_are_said_again_take_no_room(peak: Callable[[], int]) -> None:
    assert read("onnx", varint(1 << 3) + b"\x07" + b"\x08\x08" * 100_000 + GRAPH).facts == {
        "ir_version": "8"
    }
    assert peak() < 2**20


def test_names_of_other_files_are_paths_and_no_longer() -> None:
    where = "d" * 4097
    content = weights.onnx(weights.initializer("w", 1, (2,), location=where))
    refused("onnx", content, "outside its folder")


def test_texts_of_a_gguf_are_bounded_together() -> None:
    pairs = {f"k{n}": "x" * 65_000 for n in range(250)}
    assert read("gguf", weights.gguf(pairs)).facts
    refused(
        "gguf", weights.gguf(pairs | {f"l{n}": "x" * 65_000 for n in range(10)}), "bytes of text"
    )
    names = [("n" * 65_000 + str(n), 0, (1,)) for n in range(260)]
    refused("gguf", weights.gguf({}, names), "bytes of text")


@pytest.mark.parametrize("place", ['[0],"data_offsets":[0,%s]', '[%s,0],"data_offsets":[0,0]'])
def test_numbers_of_a_safetensors_file_are_no_longer_than_numbers_can_be(place: str) -> None:
    raw = '{"a":{"dtype":"X","shape":' + place % ("9" * 4000) + "}}"
    refused("safetensors", weights.framed(raw.encode()), "more numbers than can be")


def test_types_that_aren_t_known_have_short_names() -> None:
    raw = b'{"a":{"dtype":"' + b"X" * 5000 + b'","shape":[1],"data_offsets":[0,4]}}'
    assert read("safetensors", weights.framed(raw) + bytes(4)).tensors["a"].type == "x" * 40


def test_names_that_were_made_up_do_not_push_others_out() -> None:
    tensors = Tensors()
    for name in ("a", "a#2", "a"):
        tensors.add(name, Tensor("float32", 1))
    assert list(tensors) == ["a", "a#2", "a#2#2"]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        (["a", 1], "a, 1"),
        (["x" * 500, "y" * 498], "x" * 500 + ", " + "y" * 498),
    ],
)
def test_items_are_listed(items: list[object], text: str) -> None:
    assert listed(items) == text


def test_of_many_items_one_more_than_is_shown_is_listed() -> None:
    def endless() -> Iterator[str]:
        for _ in range(1000):
            yield "x" * 100
        raise AssertionError("nobody asked for so many")

    assert 1000 < len(listed(endless())) < 1200


def test_empty_blocks_of_a_member_are_not_gone_through() -> None:
    """Five bytes each that unpack to nothing."""
    empty = b"\x00\x00\x00\xff\xff" * 200_000
    raw = bytearray(others.zipped({"a.npy": b"x" * len(empty)}))
    raw[raw.index(b"xxx") : raw.index(b"xxx") + len(empty)] = empty
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 10 : at + 12] = b"\x08\x00"
    read_bytes = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read_bytes
            content = super().read(size)
            read_bytes += len(content)
            return content

    stream = Counted(bytes(raw))
    with pytest.raises(InvalidContentError):
        READERS["numpy"](stream, len(raw))
    assert read_bytes < 300_000


def test_of_a_compressed_array_little_more_than_its_header_is_read() -> None:
    data = random.Random(1).randbytes(400_000)
    header = others.FLOATS.replace("(3, 4)", "(100000,)")
    raw = others.zipped({"a.npy": others.array(header, data)}, zipfile.ZIP_DEFLATED)
    read_bytes = 0

    def part(offset: int, length: int) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return raw[offset : offset + length]

    found = READERS["numpy"](buffered(part, len(raw)), len(raw))
    assert found.tensors == {"a": Tensor("float32", 100_000, (100_000,))}
    assert read_bytes < 65_557 + 16_384  # the end of the archive, in which the directory is


def test_an_archive_of_arrays_says_that_one_is_in_the_other_order() -> None:
    column = others.FLOATS.replace("False", "True")
    one_row = column.replace("(3, 4)", "(12,)")
    for header, facts in ((others.FLOATS, {}), (one_row, {}), (column, {"numpy.order": "Fortran"})):
        raw = others.zipped({"a.npy": others.array(header, bytes(48))})
        assert read("numpy", raw).facts == facts
