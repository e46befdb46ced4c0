"""`model.yaml`, taken apart. Every message names the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

from ocimlpack.errors import InputError
from ocimlpack.model import yamlfile
from ocimlpack.model.config import CAPABILITIES, DESCRIPTOR, FORMS, MODEL, Value, check
from ocimlpack.model.metadata import Metadata
from ocimlpack.model.yamlfile import Node, YamlFile, is_null
from ocimlpack.spec.mediatypes import KINDS, Kind

KEYS: Final = (
    *(name for name in DESCRIPTOR if name != "createdAt"),
    *MODEL,
    "capabilities",
    "base",
    "annotations",
    "files",
)
"""What the file may say. The time of creation is not among it: the file would need a new one for
each packing, and a digest must not depend on that."""


def parse(path: Path, raw: bytes) -> Metadata:
    """What the file says.

    Args:
        path: what errors call it.
        raw: its content.

    Raises:
        InputError: it is not YAML, or says something that has no meaning here.
    """
    node = yamlfile.compose(path, raw)
    return _Document(YamlFile(path)).metadata(node) if node is not None else Metadata()


class _Document:
    def __init__(self, file: YamlFile) -> None:
        self._file = file

    def metadata(self, root: Node) -> Metadata:
        fields: dict[str, Value | None] = {}
        annotations: Mapping[str, str] = {}
        files: Mapping[Kind, tuple[str, ...]] = {}
        base: str | None = None
        for key, _, node in self._file.pairs(root, "the file", KEYS):
            if key == "annotations":
                annotations = self._annotations(node)
            elif key == "base":
                base = None if is_null(node) else self._file.text(node, key).strip() or None
            elif key == "files":
                files = self._files(node)
            elif key == "capabilities":
                if is_null(node):
                    fields.update(dict.fromkeys(CAPABILITIES))
                    continue
                for name, _, value in self._file.pairs(node, key, tuple(CAPABILITIES)):
                    fields[name] = self._value(name, value)
            else:
                fields[key] = self._value(key, node)
        return Metadata(fields, annotations, files, base)

    def _value(self, name: str, node: Node) -> Value | None:
        if is_null(node):
            return None
        value: Value
        form = FORMS[name]
        if form == "flag":
            value = self._file.truth(node, name)
        elif form in {"texts", "modalities", "languages"}:
            value = self._file.texts(node, name)
        else:
            value = self._file.text(node, name)
        try:
            return check(name, value)
        except InputError as error:
            self._file.fail(node, error.message)

    def _annotations(self, node: Node) -> Mapping[str, str]:
        found = self._file.pairs(node, "annotations")
        return {key: self._file.text(value, f"annotation {key!r:.60}") for key, _, value in found}

    def _files(self, node: Node) -> Mapping[Kind, tuple[str, ...]]:
        files: dict[Kind, tuple[str, ...]] = {}
        for key, _, value in self._file.pairs(node, "files", get_args(Kind)):
            kind = next(each for each in KINDS if each == key)
            files[kind] = () if is_null(value) else self._file.texts(value, f"files: {key}")
        return files
