"""Image layouts behind any web server, as mirrors of a registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import InputError, NotFoundError
from ocimlpack.progress import Event, Warned
from ocimlpack.stores.settings import Mirror
from tests.scripted.exchange import Reply, Request
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry
from tests.scripted.server import Server

SECRET = "p/a-secret-of-the-address/n/ns/b/models/o"
LARGE = 3_000_000


class FileServer:
    """Serves a folder below a secret path; it knows GET, HEAD and single ranges."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.folder = folder
        self.prefix = f"/{prefix}/" if prefix else "/"
        self.server = Server(self.answer)
        self.url = f"{self.server.url}/{prefix}".rstrip("/")

    def answer(self, request: Request, body: bytes) -> Reply:
        if not request.path.startswith(self.prefix):
            return Reply(403)
        path = self.folder / request.path.removeprefix(self.prefix)
        if not path.is_file():
            return Reply(404)
        content = path.read_bytes()
        if given := request.header("range").removeprefix("bytes="):
            start, _, end = given.partition("-")
            part = content[int(start) : int(end) + 1 if end else None]
            last = int(start) + len(part) - 1
            said = {"Content-Range": f"bytes {start}-{last}/{len(content)}"}
            return Reply(206, said, part)
        headers = {"Content-Length": str(len(content))} if request.method == "HEAD" else {}
        return Reply(200, headers, content)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(os.urandom(LARGE))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(params=["layout of its own", "shared blobs", "at the base"])
def mirror(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> Iterator[FileServer]:
    """A web server that has the model, in each of the places where one may have it."""
    base = tmp_path / "served"
    place = base if request.param == "at the base" else base / REPOSITORY
    place.parent.mkdir(parents=True, exist_ok=True)
    ocimlpack.pack(model, f"oci:{place}:1.0")
    if request.param == "shared blobs":
        (place / "blobs").rename(base / "blobs")
    served = FileServer(base, SECRET)
    with served.server:
        yield served


@pytest.fixture
def pushed(scripted: ScriptedRegistry, model: Path) -> str:
    reference = ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0").reference
    scripted.forget()
    return reference


def test_content_comes_from_the_web_server(
    pushed: str, mirror: FileServer, scripted: ScriptedRegistry, model: Path, tmp_path: Path
) -> None:
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[f"layout+{mirror.url}"])
    assert (tmp_path / "out/weights.bin").read_bytes() == (model / "weights.bin").read_bytes()
    assert scripted.count("GET", "/blobs/") == 0
    assert scripted.count("GET", "/manifests/") == 0


def test_with_the_registry_gone_tags_come_from_there_too(
    mirror: FileServer, model: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    gone = f"127.0.0.1:9/{REPOSITORY}:1.0"
    place = f"layout+{mirror.url}"
    done = ocimlpack.pull(gone, tmp_path / "out", mirrors=[place], report=events.append)
    assert done.size > LARGE
    said = [event.message for event in events if isinstance(event, Warned)]
    assert any("may be out of date" in text for text in said)
    assert "secret" not in " ".join(said)


def test_a_server_that_sends_wrong_bytes_is_asked_no_more(
    pushed: str, mirror: FileServer, scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    (weights,) = [each for each in ocimlpack.inspect(pushed).files if each.path == "weights.bin"]
    place = weights.digest.partition(":")[2]
    wrong = bytes(LARGE)
    mirror.server.fault("GET", place, status=200, body=wrong, times=None)
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[f"layout+{mirror.url}"], report=events.append)
    assert scripted.count("GET", "/blobs/") > 0
    said = " ".join(event.message for event in events if isinstance(event, Warned))
    assert "wrong bytes" in said
    assert "secret" not in said


def test_no_secret_in_errors(tmp_path: Path, mirror: FileServer) -> None:
    gone = f"127.0.0.1:9/{REPOSITORY}:9.9"
    events: list[Event] = []
    with pytest.raises(ocimlpack.OcimlpackError) as caught:
        ocimlpack.pull(
            gone, tmp_path / "out", mirrors=[f"layout+{mirror.url}"], report=events.append
        )
    told = f"{caught.value} {caught.value.hint} {events}"
    assert "secret" not in told


def test_addresses() -> None:
    found = Mirror.parse(f"layout+https://h.example.com/{SECRET}/")
    assert (found.kind, found.host, found.prefix) == ("layout", "h.example.com", f"/{SECRET}/")
    assert found.url == "https://h.example.com/…"
    assert Mirror.parse("layout+http://h.example.com").prefix == "/"
    assert Mirror.parse("http://h.example.com", kind="layout").kind == "layout"
    assert Mirror.parse("http://h.example.com").kind == "registry"
    for wrong in ("layout+ftp://h", "layout+https://h/x?y=1", "layout+"):
        with pytest.raises(InputError):
            Mirror.parse(wrong)
    with pytest.raises(InputError, match="no kind of mirror"):
        Mirror.parse("http://h", kind="folder")


def test_a_server_without_a_layout(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    served = FileServer(tmp_path / "empty")
    with served.server, pytest.raises((NotFoundError, ocimlpack.UnreachableError)):
        ocimlpack.pull(
            f"127.0.0.1:9/{REPOSITORY}:1.0",
            tmp_path / "out",
            mirrors=[f"layout+{served.url}"],
        )
