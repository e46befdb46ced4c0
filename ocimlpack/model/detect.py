"""What the files of a folder say of the model: a kind for each, and fields for the config."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import card, facts, parameters
from ocimlpack.model.config import Value, param_size, precisions
from ocimlpack.model.formats import Role, is_lfs_pointer, weight_rank
from ocimlpack.model.headers import Header
from ocimlpack.model.headers.ggml import is_quantized
from ocimlpack.model.headers.table import has_header, read_header
from ocimlpack.model.licenses import recognise
from ocimlpack.model.tree import Entry
from ocimlpack.spec.gojson import decode

_MAX_CONFIG: Final = 10_000_000
_MAX_INDEX: Final = 100_000_000
_MAX_TEXT: Final = 1_000_000

_GUESSED: Final = frozenset({"architecture", "inputTypes", "outputTypes"})
"""Fields that follow from a `config.json`, a GGUF's keys, or the card's task."""

_LICENSE_NAME: Final = re.compile(r"(?:licen[cs]e|copying)(?:\.(?:txt|md))?", re.IGNORECASE)
_INDEX_NAME: Final = "model.safetensors.index.json"


Said = TypeVar("Said")


@dataclass(slots=True)
class Item:
    """One file on its way into the artifact.

    Attributes:
        entry: the file.
        role: what it is for, as far as that is known by now.
        mode: its permission bits.
        head: its first bytes, as far as they are still needed.
        fixed: whether a person has said what it is for.
    """

    entry: Entry
    role: Role
    mode: int
    head: bytes
    fixed: bool = False

    @property
    def path(self) -> str:
        """Its path in the model."""
        return self.entry.path


@dataclass(frozen=True, slots=True)
class Detected:
    """What was found out about a model.

    Attributes:
        fields: fields of the config.
        facts: what the config has no field for, by the names that `facts` has.
        guessed: the fields that no file says: they were concluded from others.
        warnings: what a person should know.
    """

    fields: Mapping[str, Value]
    facts: Mapping[str, str]
    guessed: frozenset[str]
    warnings: tuple[str, ...]


def detect(items: Sequence[Item]) -> Detected:
    """Read headers and small files. Files that turn out to be weights get that role.

    What can't be read is left out with a warning: a model is packed as it is, whatever is known.

    Raises:
        ConflictError: a file is being changed.
    """
    detector = _Detector(items)
    fields = detector.fields()
    detector.check_weights()
    guessed = detector.guessed & fields.keys()
    return Detected(fields, detector.facts(fields), guessed, tuple(detector.warnings))


class _Detector:
    def __init__(self, items: Sequence[Item]) -> None:
        self._items = {item.path: item for item in items}
        self._indexes: dict[str, frozenset[str]] = {}
        self._format: str | None = None
        self._main: Mapping[str, Header] = {}
        self._counted: Mapping[str, Header] = {}
        self.warnings: list[str] = []
        self.guessed = _GUESSED
        self._headers = self._read_headers()
        self._check_external()
        self._check_indexes()

    def _read_headers(self) -> dict[str, Header]:
        headers = {}
        for path, item in self._items.items():
            if is_lfs_pointer(item.head):
                self.warnings.append(
                    f"{path} is a pointer of Git LFS, not the file itself; `git lfs pull` gets it"
                )
            elif item.role.kind == "weight" and has_header(path, item.role.format):
                try:
                    with item.entry.blob.browse() as stream:
                        header = read_header(path, item.role.format, stream, item.entry.size)
                except InvalidContentError as error:
                    self.warnings.append(
                        f"{path} seems to be damaged, and nothing is taken from it: {error.message}"
                    )
                else:
                    if header is not None:
                        headers[path] = header
        return headers

    def _check_external(self) -> None:
        """Files that ONNX models keep their data in are weights, whatever they are called."""
        for path, header in self._headers.items():
            folder = path.rpartition("/")[0]
            for location in sorted(header.external):
                # A name to be looked up among the model's files, never a path to be opened.
                target = f"{folder}/{location}" if folder else location
                item = self._items.get(target.removeprefix("./").replace("/./", "/"))
                if item is None:
                    self.warnings.append(f"{path} needs {location!r:.120}, which is not packed")
                elif not item.fixed:
                    item.role = Role("weight", "onnx")

    def _check_indexes(self) -> None:
        for path in self._items:
            if path.endswith(".safetensors.index.json"):
                folder = path.rpartition("/")[0]
                missing = [
                    name
                    for name in sorted(self._indexed(path))
                    if (f"{folder}/{name}" if folder else name) not in self._items
                ]
                if missing:
                    self.warnings.append(
                        f"{path} names {missing[0]!r:.120}, which is not packed"
                        + (f", and {len(missing) - 1} more" if missing[1:] else "")
                    )

    def _indexed(self, path: str) -> frozenset[str]:
        """The files that an index of shards names; none if it can't be read."""
        if path not in self._indexes:
            self._indexes[path] = self._read_index(path)
        return self._indexes[path]

    def _read_index(self, path: str) -> frozenset[str]:
        item = self._items.get(path)
        if item is None or item.entry.size > _MAX_INDEX:
            return frozenset()
        try:
            value = decode(item.entry.blob.head(_MAX_INDEX), path)
        except InvalidContentError:
            return frozenset()
        shards = value.get("weight_map") if isinstance(value, dict) else None
        names = shards.values() if isinstance(shards, dict) else ()
        return frozenset(name for name in names if isinstance(name, str))

    def check_weights(self) -> None:
        if not any(item.role.kind == "weight" for item in self._items.values()):
            self.warnings.append(
                "no weights were found; if there are some, name them under `files:` in a model.yaml"
            )

    def fields(self) -> dict[str, Value]:
        """Everything that the config has a field for; later sources win over earlier ones."""
        weights = sorted(
            (item for item in self._items.values() if item.role.kind == "weight"),
            key=lambda item: (weight_rank(item.role.format), item.path.encode()),
        )
        main = weights[0].role.format if weights else None
        headers = {
            item.path: self._headers[item.path]
            for item in weights
            if item.role.format == main and item.path in self._headers
        }
        fields: dict[str, Value] = {"format": main} if main else {}
        fields.update(self._from_license())
        fields.update(self._from_file("config.json", card.read_config))
        if any(header.tensors for header in headers.values()):
            # What the numbers are, the numbers know: `config.json` may speak of the original model.
            fields.pop("precision", None)
        fields.update(_from_headers(headers))
        fields.update(self._from_file("README.md", _read_card))
        self._format, self._main = main, headers
        self._counted = self._loaded(headers) if main == "safetensors" else headers
        counts = parameters.count(self._counted, main)
        if (precision := precisions(counts)) and not any(map(is_quantized, counts)):
            fields["precision"] = precision
        quantization = fields.get("quantization")
        if parameters.is_countable(counts, quantization, main) and (
            size := param_size(sum(counts.values()))
        ):
            fields["paramSize"] = size
        if weights and weights[0].path not in headers:
            self.guessed |= {"format"}  # by its name
        if fields.get("architecture") != "transformer":
            self.guessed -= {"architecture"}  # a class, which the file names itself
        return fields

    def facts(self, fields: Mapping[str, Value]) -> dict[str, str]:
        """What the config has no field for; later sources win over earlier ones."""
        found = {
            **facts.from_headers(self._main.values()),
            **self._from_file("config.json", facts.from_config),
            **self._from_file("README.md", facts.from_card),
            "tensors": len(parameters.tensors(self._counted, self._format)),
        }
        counts = parameters.count(self._counted, self._format)
        if parameters.is_countable(counts, fields.get("quantization"), self._format):
            found["parameters"] = sum(counts.values())
        return facts.usable(found)

    def _loaded(self, headers: Mapping[str, Header]) -> dict[str, Header]:
        """The headers of the files that a loader takes: where there is an index, those it names.

        Some models come with the same weights twice, once as shards and once in one file.
        """
        loaded = {}
        for path, header in headers.items():
            folder, _, name = path.rpartition("/")
            named = self._indexed(f"{folder}/{_INDEX_NAME}" if folder else _INDEX_NAME)
            if not named or name in named:
                loaded[path] = header
        return loaded or dict(headers)

    def _from_license(self) -> dict[str, Value]:
        """The licence whose text lies beside the model, if there is one and it is certain."""
        found = {
            recognise(item.entry.blob.head(_MAX_TEXT).decode("utf-8", "replace"))
            for path, item in self._items.items()
            if _LICENSE_NAME.fullmatch(path) and item.role.kind == "doc"
        }
        license = found.pop() if len(found) == 1 else None
        return {"licenses": (license,)} if license else {}

    def _from_file(self, name: str, read: Callable[[bytes], dict[str, Said]]) -> dict[str, Said]:
        item = self._named(name)
        if item is None or item.entry.size > _MAX_CONFIG or is_lfs_pointer(item.head):
            return {}
        try:
            return read(item.entry.blob.head(_MAX_CONFIG))
        except InvalidContentError as error:
            warning = f"{item.path} is not taken into account: {error.message}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return {}

    def _named(self, name: str) -> Item | None:
        """The file of that name in the model's own folder, in whatever case."""
        names = [path for path in self._items if path.lower() == name.lower()]
        return self._items[min(names, key=str.encode)] if names else None


def _read_card(raw: bytes) -> dict[str, Value]:
    return card.read_card(raw.decode("utf-8", "replace"))


def _from_headers(headers: Mapping[str, Header]) -> dict[str, Value]:
    """What all headers that say anything about a field agree on."""
    said: dict[str, set[str]] = {}
    for header in headers.values():
        if header.role is None:
            for name, value in header.fields.items():
                said.setdefault(name, set()).add(value)
    agreed = {name: values.pop() for name, values in said.items() if len(values) == 1}
    listed = {"authors", "licenses"}
    return card.usable(
        {name: (value,) if name in listed else value for name, value in agreed.items()}
    )
