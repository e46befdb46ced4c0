"""`model.yaml`, taken apart.

Every message names the line. A YAML file is read as a tree of nodes, never as objects: nothing in
it is constructed, and `language: no` or `version: 1.10` stay what was written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn, get_args

import yaml

from ocimlpack.errors import InputError
from ocimlpack.model.config import CAPABILITIES, DESCRIPTOR, FORMS, MODEL, Value, check
from ocimlpack.model.metadata import Metadata
from ocimlpack.spec.mediatypes import KINDS, Kind

KEYS: Final = (
    *(name for name in DESCRIPTOR if name != "createdAt"),
    *MODEL,
    "capabilities",
    "annotations",
    "files",
)
"""What the file may say. The time of creation is not among it: the file would need a new one for
each packing, and a digest must not depend on that."""

_TAGS: Final = frozenset({"str", "int", "float", "bool", "timestamp", "merge", "value"})
"""What YAML takes plain text for. Here it is text all the same."""
_TRUTHS: Final = {"true": True, "false": False}


def parse(path: Path, raw: bytes) -> Metadata:
    """What the file says.

    Args:
        path: what errors call it.
        raw: its content.

    Raises:
        InputError: it is not YAML, or says something that has no meaning here.
    """
    try:
        # SafeLoader composes nodes and constructs nothing; a tag can't name a class.
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {_reason(error)}") from error
    return _Document(path).metadata(node) if node is not None else Metadata()


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return " ".join(str(error).split())


class _Document:
    def __init__(self, path: Path) -> None:
        self._path = path

    def metadata(self, root: yaml.Node) -> Metadata:
        fields: dict[str, Value | None] = {}
        annotations: Mapping[str, str] = {}
        files: Mapping[Kind, tuple[str, ...]] = {}
        for key, node in self._pairs(root, "the file", KEYS):
            if key == "annotations":
                annotations = self._annotations(node)
            elif key == "files":
                files = self._files(node)
            elif key == "capabilities":
                if _is_null(node):
                    fields.update(dict.fromkeys(CAPABILITIES))
                    continue
                for name, value in self._pairs(node, key, tuple(CAPABILITIES)):
                    fields[name] = self._value(name, value)
            else:
                fields[key] = self._value(key, node)
        return Metadata(fields, annotations, files)

    def _pairs(
        self, node: yaml.Node, what: str, known: tuple[str, ...] | None = None
    ) -> list[tuple[str, yaml.Node]]:
        if _is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"{what} is not made of keys with values")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self._text(key_node, "a key")
            if known is not None and key not in known:
                self._fail(key_node, f"{key!r:.60} is not known", _nearest(key, known))
            if key in found:
                self._fail(key_node, f"{key!r:.60} is given twice")
            found[key] = value
        return list(found.items())

    def _value(self, name: str, node: yaml.Node) -> Value | None:
        if _is_null(node):
            return None
        value: Value
        form = FORMS[name]
        if form == "flag":
            text = self._text(node, name).lower()
            if text not in _TRUTHS:
                self._fail(node, f"{name} is true or false, not {text!r:.60}")
            value = _TRUTHS[text]
        elif form in {"texts", "modalities", "languages"}:
            value = self._texts(node, name)
        else:
            value = self._text(node, name)
        try:
            return check(name, value)
        except InputError as error:
            self._fail(node, error.message)

    def _annotations(self, node: yaml.Node) -> Mapping[str, str]:
        found = self._pairs(node, "annotations")
        return {key: self._text(value, f"annotation {key!r:.60}") for key, value in found}

    def _files(self, node: yaml.Node) -> Mapping[Kind, tuple[str, ...]]:
        files: dict[Kind, tuple[str, ...]] = {}
        for key, value in self._pairs(node, "files", get_args(Kind)):
            kind = next(each for each in KINDS if each == key)
            files[kind] = () if _is_null(value) else self._texts(value, f"files: {key}")
        return files

    def _texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """A list of texts; a single one may stand without its brackets."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._text(each, f"an item of {what}") for each in node.value)
        if isinstance(node, yaml.MappingNode):
            self._fail(node, f"{what} is a list of texts")
        return (self._text(node, what),)

    def _text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or _is_null(node):
            self._fail(node, f"{what} is a single text")
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            self._fail(node, f"{what} has the tag {node.tag!r:.60}, which means nothing here")
        return str(node.value)

    def _fail(self, node: yaml.Node, message: str, hint: str | None = None) -> NoReturn:
        raise InputError(f"{self._path}, line {node.start_mark.line + 1}: {message}", hint=hint)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and str(node.tag) == "tag:yaml.org,2002:null"


def _nearest(key: str, known: tuple[str, ...]) -> str:
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(key.lower().replace("_", ""), list(folded), n=1)
    if close:
        return f"did you mean {folded[close[0]]}?"
    return f"known are {', '.join(known)}"
