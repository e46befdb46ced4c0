"""A hub: what https://huggingface.co/docs/hub/api and its client expect, as far as reading goes.

Small files are in git and answered by the hub itself, behind a redirect within it. Large ones are
kept beside git: the hub leads to another host, which wants no credentials.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.scripted.blobs import slice_of
from tests.scripted.exchange import Reply, Request, as_json
from tests.scripted.quirks import Quirks
from tests.scripted.server import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_TestTokenThatNobodyMaySee"
LARGE = (".safetensors", ".gguf", ".bin", ".onnx", ".pt")
"""What `.gitattributes` of most models keeps beside git."""


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class HubRepository:
    """A model of the hub.

    Attributes:
        files: by their paths.
        commits: what branches and tags stand for.
        private: those without the token are told that there is none.
        gated: those without the token see what there is, and get none of it.
    """

    files: dict[str, bytes]
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1.0": COMMIT})
    private: bool = False
    gated: bool = False

    @classmethod
    def of(
        cls, files: Mapping[str, bytes | str], *, private: bool = False, gated: bool = False
    ) -> HubRepository:
        raw = {
            name: content.encode() if isinstance(content, str) else content
            for name, content in files.items()
        }
        return cls(raw, private=private, gated=gated)

    @classmethod
    def of_folder(cls, folder: Path) -> HubRepository:
        return cls(
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits.values() else self.commits.get(revision)


class Cdn(Server):
    """Where large files lie, by their digest. It refuses credentials, as an object store does."""

    def __init__(self, address: str) -> None:
        self.content: dict[str, bytes] = {}
        self.quirks = Quirks()
        super().__init__(self._answer, address)

    def _answer(self, request: Request, _: bytes) -> Reply:
        if request.header("authorization"):
            return Reply(400, {}, b"only one way to authenticate is allowed")
        if not request.arguments().get("X-Amz-Signature"):
            return Reply(403)
        content = self.content.get(request.path.rpartition("/")[2])
        return Reply(404) if content is None else slice_of(content, request, self.quirks)


class Hub(Server):
    """The hub itself.

    Attributes:
        models: the models, by their names.
        cdn: where it leads for large files.
        says: digests that it gives instead of the right ones, by paths.
        keeps_beside: whether large files are kept beside git, so that it has their SHA-256.
    """

    def __init__(self, address: str = "127.0.0.1", cdn: str = "127.0.0.2") -> None:
        self.models: dict[str, HubRepository] = {}
        self.cdn = Cdn(cdn)
        self.says: dict[str, str] = {}
        self.keeps_beside = True
        super().__init__(self._answer, address)

    def add(self, name: str, files: Mapping[str, bytes | str], **more: bool) -> HubRepository:
        self.models[name] = found = HubRepository.of(files, **more)
        return found

    def close(self) -> None:
        self.cdn.close()
        super().close()

    def _answer(self, request: Request, _: bytes) -> Reply:
        token = request.header("authorization")
        if token and token != f"Bearer {TOKEN}":
            return _refuse(401, "", "Invalid credentials in Authorization header")
        # Branches' names may have slashes, which are then encoded.
        path = request.raw.partition("?")[0]
        if match := re.fullmatch(r"/api/models/(.+?)/(revision|tree)/([^/]+)", path):
            name, what, revision = match.groups()
            return self._describe(name, what, urllib.parse.unquote(revision), bool(token))
        if match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            name, revision, inner = match.groups()
            return self._resolve(request, name, urllib.parse.unquote(revision), inner, bool(token))
        if match := re.fullmatch(r"/api/resolve-cache/models/(.+?)/([0-9a-f]{40})/(.+)", path):
            name, commit, inner = match.groups()
            return self._small(request, name, commit, urllib.parse.unquote(inner), bool(token))
        return _refuse(404, "", "Sorry, we can't find the page you are looking for.")

    def _find(self, name: str, revision: str, known: bool) -> tuple[HubRepository, str] | Reply:
        model = self.models.get(name)
        if model is None or (model.private and not known):
            if known:
                return _refuse(404, "RepoNotFound", "Repository not found")
            return _refuse(401, "RepoNotFound", "Invalid username or password.")
        commit = model.resolve(revision)
        if commit is None:
            return _refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return model, commit

    def _describe(self, name: str, what: str, revision: str, known: bool) -> Reply:
        found = self._find(name, revision, known)
        if isinstance(found, Reply):
            return found
        model, commit = found
        if what == "tree":
            return as_json(200, [self._tree_entry(*each) for each in model.files.items()])
        return as_json(
            200,
            {
                "_id": "5f0000000000000000000000",
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": model.private,
                "gated": "manual" if model.gated else False,
                "disabled": False,
                "downloads": 1,
                "likes": 1,
                "tags": ["safetensors"],
                "siblings": [self._sibling(*each) for each in model.files.items()],
            },
        )

    def _is_large(self, path: str) -> bool:
        return self.keeps_beside and path.endswith(LARGE)

    def _digest(self, path: str, content: bytes) -> str:
        return self.says.get(path) or sha256(content)

    def _sibling(self, path: str, content: bytes) -> dict[str, object]:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\n"
        entry: dict[str, object] = {"rfilename": path, "size": len(content)}
        if self._is_large(path):
            entry["blobId"] = git_digest(pointer.encode())
            entry["lfs"] = {
                "sha256": self._digest(path, content),
                "size": len(content),
                "pointerSize": 134,
            }
        else:
            entry["blobId"] = self.says.get(path) or git_digest(content)
        return entry

    def _tree_entry(self, path: str, content: bytes) -> dict[str, object]:
        sibling = self._sibling(path, content)
        entry = {"type": "file", "path": path, "oid": sibling["blobId"], "size": len(content)}
        if self._is_large(path):
            oid = self._digest(path, content)
            entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        return entry

    def _resolve(
        self, request: Request, name: str, revision: str, inner: str, known: bool
    ) -> Reply:
        found = self._find(name, revision, known)
        if isinstance(found, Reply):
            return found
        model, commit = found
        if model.gated and not known:
            return _refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        path = urllib.parse.unquote(inner)
        if path not in model.files:
            return _refuse(404, "EntryNotFound", "Entry not found")
        content = model.files[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not self._is_large(path):
            cache = f"/api/resolve-cache/models/{name}/{commit}/{inner}"
            headers |= {
                "Location": cache,
                "ETag": f'"{git_digest(content)}"',
                "X-Linked-Size": str(len(content)),
            }
            return Reply(307, headers)
        digest = sha256(content)
        self.cdn.content[digest] = content
        headers |= {
            "Location": f"{self.cdn.url}/repos/{digest}?X-Amz-Signature=secret&X-Amz-Expires=3600",
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{self._digest(path, content)}"',
            "ETag": f'"{digest}"',
        }
        return Reply(302, headers)

    def _small(self, request: Request, name: str, commit: str, path: str, known: bool) -> Reply:
        found = self._find(name, commit, known)
        if isinstance(found, Reply):
            return found
        content = found[0].files[path]
        reply = slice_of(content, request, self.cdn.quirks)
        reply.headers |= {"X-Repo-Commit": commit, "ETag": f'"{git_digest(content)}"'}
        return reply


def _refuse(status: int, code: str, message: str) -> Reply:
    headers = {"X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    return as_json(status, {"error": message}, headers)
