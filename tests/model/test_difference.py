from __future__ import annotations

from collections.abc import Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimlpack.model import difference
from ocimlpack.model.difference import (
    File,
    TensorPair,
    compare_fields,
    compare_files,
    pair_tensors,
)
from ocimlpack.model.headers import Header, Tensor
from ocimlpack.spec.digest import Digest


def file(path: str, content: str | None = "", *, layer: str | None = None) -> File:
    digest = None if content is None else str(Digest.of(content.encode()))
    size = None if content is None else len(content)
    return File(path, size, digest, str(Digest.of((layer or content or path).encode())))


def states(a: list[File], b: list[File]) -> dict[str, str]:
    return {each.path: each.state for each in compare_files(a, b)[0]}


def header(**tensors: tuple[str, tuple[int, ...]]) -> Header:
    return Header({name: Tensor(kind, 1, shape) for name, (kind, shape) in tensors.items()})


def test_files_are_added_removed_changed_or_the_same() -> None:
    a = [file("same", "1"), file("changed", "2"), file("gone", "3")]
    b = [file("same", "1"), file("changed", "4"), file("new", "5")]
    differences, same = compare_files(a, b)
    assert [(each.path, each.state) for each in differences] == [
        ("changed", "changed"),
        ("gone", "removed"),
        ("new", "added"),
    ]
    assert same == 1
    assert [(each.a is None, each.b is None) for each in differences] == [
        (False, False),
        (False, True),
        (True, False),
    ]


def test_the_same_content_elsewhere_is_a_renamed_file() -> None:
    a = [file("old", "1"), file("twice", "2"), file("kept", "3")]
    b = [file("new", "1"), file("once more", "2"), file("and more", "2"), file("kept", "3")]
    differences, same = compare_files(a, b)
    assert [(each.a.path if each.a else "", each.path, each.state) for each in differences] == [
        ("twice", "and more", "renamed"),
        ("old", "new", "renamed"),
        ("", "once more", "added"),
    ]
    assert same == 1


def test_a_copy_of_a_file_that_stays_is_an_added_one() -> None:
    assert states([file("a", "1")], [file("a", "1"), file("b", "1")]) == {"b": "added"}


def test_empty_files_are_never_renamed() -> None:
    assert states([file("a", "")], [file("b", "")]) == {"a": "removed", "b": "added"}


def test_what_is_in_an_archive_that_differs_is_not_known() -> None:
    here, there = file("a", None, layer="x"), file("a", None, layer="y")
    assert states([here], [there]) == {"a": "unknown"}
    assert states([here], [file("a", "1")]) == {"a": "unknown"}
    assert states([here], [here]) == {}


def test_what_may_be_in_an_archive_that_differs_is_not_known_either() -> None:
    def archive(name: str, content: str, folder: str) -> File:
        digest = str(Digest.of(content.encode()))
        return File(name, 1, digest, digest, archive=True, folder=folder)

    files = [file("docs/a", "1"), file("docsy", "2")]
    docs, other, every = (
        archive("d", "x", "docs"),
        archive("d", "y", "docs"),
        archive("e", "z", "."),
    )
    assert states(files, [docs]) == {"docs/a": "unknown", "docsy": "removed", "d": "added"}
    assert states([docs], files) == {"docs/a": "unknown", "docsy": "added", "d": "removed"}
    assert states([*files, docs], [other]) == {
        "docs/a": "unknown",
        "docsy": "removed",
        "d": "changed",
    }
    assert states(files, [every]) == {"docs/a": "unknown", "docsy": "unknown", "e": "added"}
    assert states([*files, docs], [docs]) == {"docs/a": "removed", "docsy": "removed"}


def test_very_many_files_are_compared_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    original = difference._may_be_in

    def counted(folders: Set[str], path: str) -> bool:
        nonlocal looked
        looked += 1 + len(folders)
        return original(folders, path)

    monkeypatch.setattr(difference, "_may_be_in", counted)
    a, b = ([file(f"{side}/{n}", f"{side}{n}") for n in range(500)] for side in "ab")
    assert set(states(a, b).values()) == {"added", "removed"}
    assert looked == 1000


def test_fields_are_compared_in_the_order_given() -> None:
    found = compare_fields(
        {"b": "1", "a": "1", "z": "1"}, {"b": "2", "c": "1", "z": "1"}, ("z", "b")
    )
    assert [(each.name, each.state, each.a, each.b) for each in found] == [
        ("b", "changed", "1", "2"),
        ("a", "removed", "1", None),
        ("c", "added", None, "1"),
    ]


def test_tensors_are_compared_by_name() -> None:
    a = header(
        kept=("f", (2, 3)), shape=("f", (2,)), type=("f", (1,)), both=("f", (1,)), gone=("f", ())
    )
    b = header(
        kept=("f", (2, 3)), shape=("f", (3,)), type=("g", (1,)), both=("g", (2,)), new=("f", ())
    )
    assert {pair.name: pair.state for pair in pair_tensors({"m": a}, {"m": b})} == {
        "kept": "unknown",
        "shape": "reshaped",
        "type": "retyped",
        "both": "reshaped",
        "gone": "removed",
        "new": "added",
    }


def test_tensors_are_found_again_in_other_shards_of_their_folder() -> None:
    one = {"m.safetensors": header(x=("f", (1,)), y=("f", (2,)))}
    two = {"m-1.safetensors": header(x=("f", (1,))), "m-2.safetensors": header(y=("f", (3,)))}
    assert [(pair.name, pair.state) for pair in pair_tensors(one, two)] == [
        ("x", "unknown"),
        ("y", "reshaped"),
    ]
    elsewhere = {f"sub/{path}": found for path, found in two.items()}
    assert [pair.state for pair in pair_tensors(one, elsewhere)] == [
        "removed",
        "removed",
        "added",
        "added",
    ]


def test_of_two_files_the_one_of_the_same_path_comes_first() -> None:
    a = {"a": header(x=("f", (1,))), "b": header(x=("g", (1,)))}
    assert [pair.state for pair in pair_tensors(a, a)] == ["unknown", "unknown"]


TABLES = st.dictionaries(
    st.sampled_from(["a", "b", "sub/a", "sub/b"]),
    st.dictionaries(
        st.sampled_from("xyz"),
        st.tuples(st.sampled_from("fg"), st.sampled_from([(), (1,), (2, 3)])),
    ),
)
Tables = dict[str, dict[str, tuple[str, tuple[int, ...]]]]


@given(TABLES, TABLES)
def test_every_tensor_is_in_one_pair(a: Tables, b: Tables) -> None:
    left = {path: header(**table) for path, table in a.items()}
    right = {path: header(**table) for path, table in b.items()}
    pairs = pair_tensors(left, right)
    for tables, side in ((a, "a"), (b, "b")):
        found = [(place.path, pair.name) for pair in pairs if (place := getattr(pair, side))]
        assert sorted(found) == sorted((path, name) for path in tables for name in tables[path])
    assert all(pair.a or pair.b for pair in pairs)


@given(TABLES, TABLES)
def test_the_other_way_round_what_was_added_is_removed(a: Tables, b: Tables) -> None:
    left = {path: header(**table) for path, table in a.items()}
    right = {path: header(**table) for path, table in b.items()}

    def count(pairs: list[TensorPair], state: str) -> int:
        return sum(pair.state == state for pair in pairs)

    there, back = pair_tensors(left, right), pair_tensors(right, left)
    assert count(there, "added") == count(back, "removed")
    assert len(there) == len(back)
