"""`bucket.yaml`: what it may say. Every message names the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ocimlpack.cloud.bucket import given
from ocimlpack.cloud.bucket.given import KEYS, LOG_KEYS, RULE_KEYS, URL_KEYS, Given
from ocimlpack.cloud.bucket.spec import Rule
from ocimlpack.errors import InputError
from ocimlpack.model import yamlfile
from ocimlpack.model.yamlfile import Node, YamlFile, is_null

_FLAGS: Final = {"object_events", "iam_policy"}
_TAG_FILTERS: Final = ("tag", "tags", "tag_filter", "filter", "object_tags", "stage")
_MAX_SIZE: Final = 1024 * 1024


def read(path: Path) -> Mapping[str, Given]:
    """What a file says, by its keys.

    Raises:
        InputError: it can't be read, is not YAML, or says something that has no meaning here.
    """
    try:
        with path.expanduser().open("rb") as stream:
            raw = stream.read(_MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    if len(raw) > _MAX_SIZE:
        raise InputError(f"{path} is larger than a description of a bucket can be")
    return parse(path, raw)


def parse(path: Path, raw: bytes) -> Mapping[str, Given]:
    """The same of a file's content."""
    root = yamlfile.compose(path, raw)
    return _Reader(YamlFile(path)).keys(root) if root is not None else {}


class _Reader:
    def __init__(self, file: YamlFile) -> None:
        self._file = file

    def keys(self, root: Node) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for key, key_node, node in self._file.pairs(root, "the file", KEYS):
            if is_null(node):
                continue
            found[key] = Given(self._value(key, key_node, node), self._file.place(key_node))
        return found

    def _value(self, key: str, key_node: Node, node: Node) -> Any:
        here = Given(None, self._file.place(key_node))
        if key in _FLAGS:
            return self._file.truth(node, key)
        if key == "tags":
            return self._texts(node, key)
        if key == "defined_tags":
            return {
                space: self._texts(value, f"{key}: {space}")
                for space, _, value in self._file.pairs(node, key)
            }
        if key == "lifecycle":
            return tuple(self._rule(each) for each in self._file.items(node, key))
        if key == "access_logs":
            return given.make_logs(self._fields(node, key, LOG_KEYS, {"read", "write"}))
        if key == "read_url":
            return given.make_read_url(self._fields(node, key, URL_KEYS), here)
        return self._file.text(node, key)

    def _rule(self, node: Node) -> Rule:
        for name, key_node, _ in self._file.pairs(node, "a rule of lifecycle"):
            if name.lower() in _TAG_FILTERS:
                self._file.fail(
                    key_node,
                    f"{name!r:.60}: objects have no tags, so a rule goes by their names",
                    "include: [old/*]",
                )
        fields = self._fields(node, "a rule of lifecycle", RULE_KEYS, {"enabled"})
        return given.make_rule(fields, Given(None, self._file.place(node)))

    def _fields(
        self, node: Node, what: str, known: tuple[str, ...], flags: set[str] | None = None
    ) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for key, key_node, value in self._file.pairs(node, what, known):
            if is_null(value):
                continue
            read: Any
            if key in (flags or ()):
                read = self._file.truth(value, key)
            elif key in {"include", "exclude"}:
                read = self._file.texts(value, key)
            else:
                read = self._file.text(value, key)
            found[key] = Given(read, self._file.place(key_node))
        return found

    def _texts(self, node: Node, what: str) -> dict[str, str]:
        return {
            key: self._file.text(value, f"{what}: {key}")
            for key, _, value in self._file.pairs(node, what)
        }
