"""KitOps' Kitfile, taken apart: what it says of a model, and which files it names.

https://kitops.org/docs/kitfile/format/
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ocimlpack.errors import InputError
from ocimlpack.model import yamlfile
from ocimlpack.model.config import Value, check
from ocimlpack.model.facts import DOMAIN
from ocimlpack.model.metadata import Metadata
from ocimlpack.model.recipe import WHOLE, Pick, Recipe, inner_path
from ocimlpack.model.yamlfile import Node, YamlFile, is_null
from ocimlpack.spec.mediatypes import Kind

IGNORE_FILE: Final = ".kitignore"

_VERSION: Final = "manifestVersion"
_PACKAGE: Final = {
    "name": "name",
    "version": "version",
    "description": "description",
    "license": "licenses",
    "authors": "authors",
}
"""Keys of `package`, with the config's fields that they are."""

_MODEL: Final = {
    "name": "title",
    "version": "version",
    "description": "description",
    "license": "licenses",
    "format": "format",
}
_LISTS: Final[dict[str, Kind]] = {
    "code": "code",
    "datasets": "dataset",
    "docs": "doc",
    "prompts": "doc",
    "mcpServers": "code",
}
"""What the lists of files are for."""

_FRAMEWORK: Final = f"{DOMAIN}frameworks"

_KEYS: Final = (_VERSION, "package", "model", *_LISTS)
_PART_KEYS: Final = ("name", "path", "license", "type")


def parse(path: Path, raw: bytes) -> Metadata:
    """What the file says.

    Args:
        path: what errors call it.
        raw: its content.

    Raises:
        InputError: it is not YAML, or says something that a Kitfile can't say.
    """
    node = yamlfile.compose(path, raw)
    kitfile = _Kitfile(YamlFile(path))
    if node is not None:
        kitfile.read(node)
    return kitfile.metadata()


class _Kitfile:
    def __init__(self, file: YamlFile) -> None:
        self._file = file
        self._name = file.path.name
        self._fields: dict[str, Value] = {}
        self._licenses: list[str] = []
        self._annotations: dict[str, str] = {}
        self._picks: dict[str, Pick] = {}
        self._unmapped: dict[str, list[int]] = {}

    def read(self, root: Node) -> None:
        sections = {key: node for key, _, node in self._file.pairs(root, "the file", _KEYS)}
        if _VERSION in sections:
            self._check_version(sections[_VERSION])
        # The model's licence is the one that people look for; its name only a title beside the
        # package's.
        if "model" in sections:
            self._read_model(sections["model"])
        if "package" in sections:
            self._read_package(sections["package"])
        if "name" not in self._fields and "title" in self._fields:
            self._fields["name"] = self._fields.pop("title")
        elif self._fields.get("name") == self._fields.get("title"):
            self._fields.pop("title", None)
        for key, kind in _LISTS.items():
            if key in sections and not is_null(sections[key]):
                for item in self._file.items(sections[key], key):
                    self._read_item(key, item, kind)

    def metadata(self) -> Metadata:
        fields = dict(self._fields)
        if self._licenses:
            fields["licenses"] = tuple(dict.fromkeys(self._licenses))
        notes: tuple[str, ...] = ()
        if self._unmapped:
            said = ", ".join(
                f"{key} ({'lines' if lines[1:] else 'line'} {', '.join(map(str, lines))})"
                for key, lines in self._unmapped.items()
            )
            notes = (f"{self._name} says what has no counterpart here and is left out: {said}",)
        recipe = Recipe(self._name, tuple(self._picks.values()), IGNORE_FILE)
        return Metadata(fields, self._annotations, recipe=recipe, notes=notes)

    def _check_version(self, node: Node) -> None:
        version = self._file.text(node, _VERSION)
        if version.removeprefix("v").partition(".")[0] != "1":
            self._file.fail(node, f"{_VERSION} {version!r:.40} is not known; 1.0.0 is")

    def _read_package(self, node: Node) -> None:
        for key, key_node, value in self._file.pairs(node, "package"):
            if is_null(value):
                continue
            if key not in _PACKAGE:
                self._unmap(f"package.{key}", key_node)
            elif key == "authors":
                self._set("authors", self._file.texts(value, "authors"), value, "package.authors")
            else:
                self._take(_PACKAGE[key], value, f"package.{key}", wins=True)

    def _read_model(self, node: Node) -> None:
        for key, key_node, value in self._file.pairs(node, "model"):
            if is_null(value):
                continue
            if key in _MODEL:
                self._take(_MODEL[key], value, f"model.{key}")
            elif key == "path" and ":" in self._file.text(value, "model.path"):
                self._unmap("model.path, as it names another ModelKit", value)
            elif key == "path":
                self._pick(value, "weight", None)
            elif key == "framework":
                text = " ".join(self._file.text(value, "model.framework").split())
                if text:
                    self._annotations[_FRAMEWORK] = text
            elif key == "parts":
                for part in self._file.items(value, "model.parts"):
                    self._read_item("model.parts", part, None, _PART_KEYS)
            else:
                self._unmap(f"model.{key}", key_node)

    def _read_item(
        self, key: str, node: Node, kind: Kind | None, known: tuple[str, ...] | None = None
    ) -> None:
        for name, key_node, value in self._file.pairs(node, f"an item of {key}", known):
            if is_null(value):
                continue
            if name == "path":
                self._pick(value, kind, kind)
            else:
                self._unmap(f"{key}.{name}", key_node)

    def _take(self, field: str, node: Node, what: str, *, wins: bool = False) -> None:
        text = self._file.text(node, what).strip()
        if not text:
            return
        if field == "licenses":
            self._set("licenses", (text,), node, what)
            self._licenses += self._fields.pop("licenses")  # type: ignore[arg-type]
            return
        before = self._fields.get(field)
        self._set(field, text, node, what)
        if wins and before not in (None, text):
            # The package's is the one that stands for the whole.
            self._unmap(f"model.{field}, as the package has another one", node)

    def _set(self, field: str, value: Value, node: Node, what: str) -> None:
        try:
            self._fields[field] = check(field, value)
        except InputError as error:
            self._file.fail(node, f"{what}: {error.message}")

    def _pick(self, node: Node, kind: Kind | None, within: Kind | None) -> None:
        text = self._file.text(node, "path").strip()
        if not text:
            return
        path = inner_path(text)
        if path is None:
            self._file.fail(node, f"{text!r:.120} leads out of the model's folder")
        if path in self._picks:
            self._file.fail(node, f"{text!r:.120} is named by {self._picks[path].where}, too")
        inner = None if path == WHOLE else within
        self._picks[path] = Pick(path, kind, inner, self._file.place(node))

    def _unmap(self, what: str, node: Node) -> None:
        self._unmapped.setdefault(what, []).append(int(node.start_mark.line) + 1)
