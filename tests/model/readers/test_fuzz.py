"""Real manifests and configs, cut short and with bits turned: only our own errors come out."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimlpack.errors import OcimlpackError
from ocimlpack.model import listing, readers
from ocimlpack.model.names import check_path
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.stores import base
from ocimlpack.stores.memory import MemoryStore
from tests.model.artifacts import member, tar
from tests.model.readers.artifacts import GOLDEN, KIT, LAYER, Blob, image, stored

NAMES = sorted(path.name for path in GOLDEN.glob("*.json"))
CONTENT = {name: (GOLDEN / name).read_bytes() for name in NAMES}

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


class Answering:
    """A store that gives the same bytes for whatever it is asked."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def resolve(self, name: str) -> Descriptor:
        return Descriptor.of(self._content, "a/b")

    def exists(self, desc: Descriptor) -> bool:
        return True

    def fetch(self, desc: Descriptor) -> base.Blob:
        return base.BytesBlob(self._content)

    def close(self) -> None:
        pass


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes changed, taken out, said twice, or all that follows cut off."""
    found = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        what = draw(st.sampled_from(["bit", "byte", "cut", "out", "twice", "word"]))
        if what == "bit" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "byte" and found:
            found[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del found[at:]
        elif what == "out":
            del found[at : at + draw(st.integers(1, 80))]
        elif what == "twice":
            found[at:at] = found[at : at + draw(st.integers(1, 400))]
        else:
            found[at:at] = draw(
                st.sampled_from([b"null", b"[]", b"{}", b"-1", b"1e999", b'"', b"../", b"\\ud800"])
            )
    return bytes(found)


ODD = st.recursive(
    st.sampled_from([None, True, -1, 2**63, 0.5, "", ".", "../x", "a", "tar+gzip", "sha256:0"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["path", "digest", "size", "layers", "a"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@st.composite
def rewritten(draw: st.DrawFn, content: bytes) -> bytes:
    """Still JSON, but somewhere in it is something that nobody expects there."""
    value: Any = json.loads(content)
    for _ in range(draw(st.integers(1, 2))):
        place: Any = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                place[key] = draw(ODD)
                break
            place = place[key]
    return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def _digests_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at are the parsers; that wrong bytes are refused, other tests say."""
    for place in ("model.readers.source", "stores.graph"):
        monkeypatch.setattr(f"ocimlpack.{place}.read_all", lambda blob, desc: blob.content)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(".config.json")])
def test_manifests(name: str) -> None:
    config = CONTENT.get(name.replace(".manifest.", ".config."), b"{}")

    @quick
    @given(spoiled(CONTENT[name]) | rewritten(CONTENT[name]))
    def run(raw: bytes) -> None:
        with suppress(OcimlpackError):
            node = manifests.parse(raw)
            assert node.raw == raw
            assert node.descriptor.digest == Digest.of(raw)
            if isinstance(node, Manifest):
                found = readers.understand(Answering(config), node)
                assert found.members
                readers.named(node)
            else:
                readers.choose(Answering(CONTENT["olot-modelpack.manifest.json"]), node)

    run()


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".config.json")])
def test_configs(name: str) -> None:
    node = manifests.parse(CONTENT[name.replace(".config.", ".manifest.")])
    assert not isinstance(node, Index)

    @quick
    @given(spoiled(CONTENT[name]) | rewritten(CONTENT[name]))
    def run(raw: bytes) -> None:
        with suppress(OcimlpackError):
            found = readers.understand(Answering(raw), node)
            assert all(isinstance(key, str) for key in found.fields)

    run()


SYSTEM = tar(
    member("etc/passwd", b"root"),
    member("models/", type=b"5"),
    member("models/w", b"w" * 600, mode=0o755),
    member("models/hard", type=b"1", linkname="models/w"),
    member("models/soft", type=b"2", linkname="w"),
    member(f"models/{'long' * 40}/x", b"x", pax_headers={"SCHILY.xattr.user.a": "b"}),
    member("models/.wh.gone"),
)


@pytest.mark.parametrize("kind", ["image", "modelkit"])
@pytest.mark.parametrize("gz", [False, True])
def test_archives(kind: str, gz: bool) -> None:
    # A link makes a ModelKit be refused early, so it has none.
    whole = SYSTEM if kind == "image" else tar(member("a", b"a" * 600), member("b" * 120, b"b"))
    ending = "+gzip" if gz else ""

    @quick
    @given(spoiled(whole), st.booleans())
    def run(content: bytes, inner: bool) -> None:
        # What is damaged is what is packed, or the packing.
        packed = gzip.compress(content if inner else whole, mtime=0) if gz else content
        if gz and not inner:
            packed = packed[: len(content) % len(packed)] + packed[-4:]
        store = MemoryStore()
        if kind == "image":
            manifest = image(store, [Blob(packed, f"{LAYER}{ending}")])
        else:
            layer = Blob(packed, f"{KIT}.model.v1.tar{ending}")
            manifest = stored(store, [layer], config={}, config_type=f"{KIT}.config.v1+json")
        with suppress(OcimlpackError):
            for _, entry in listing.tree(readers.understand(store, manifest).members, store.fetch):
                assert check_path(entry.path)

    run()


def test_samples_are_found() -> None:
    assert len(NAMES) > 20
    assert Path(GOLDEN).is_dir()
