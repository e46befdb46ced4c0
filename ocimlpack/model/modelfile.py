"""A Modelfile, taken apart: modctl's, which describes a model; others by that name run one.

https://github.com/modelpack/modctl/blob/main/docs/getting-started.md
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Final, NoReturn

from ocimlpack.errors import InputError
from ocimlpack.model.config import Value, check, param_size
from ocimlpack.model.metadata import Metadata
from ocimlpack.model.recipe import Pick, Recipe, inner_path
from ocimlpack.model.yamlfile import nearest
from ocimlpack.spec.mediatypes import Kind

_FIELDS: Final = {
    "NAME": "name",
    "ARCH": "architecture",
    "FAMILY": "family",
    "FORMAT": "format",
    "PARAMSIZE": "paramSize",
    "PRECISION": "precision",
    "QUANTIZATION": "quantization",
}
_FILES: Final[dict[str, Kind]] = {
    "CONFIG": "weight.config",
    "MODEL": "weight",
    "CODE": "code",
    "DATASET": "dataset",
    "DOC": "doc",
}
COMMANDS: Final = (*_FIELDS, *_FILES)

_RUNS: Final = frozenset(
    {"FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES"}
)
"""Ollama's commands: https://docs.ollama.com/modelfile. Its files say how a model is run."""

_SHORT: Final = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "fp32": "float32",
    "f32": "float32",
    "fp64": "float64",
    "fp8": "float8_e4m3",
}
"""What people call precisions, with ModelPack's names."""

_SIZE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([KMBT])\Z", re.IGNORECASE | re.ASCII)
_SCALES: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_LEAST: Final = 1000
"""Below that, a bare number may well be one of billions."""


def parse(path: Path, raw: bytes) -> Metadata:
    """What the file says; of one that is meant for another tool, only that it is.

    Args:
        path: what errors call it.
        raw: its content.

    Raises:
        InputError: no text, or a line that can't be understood.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text") from error
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.strip().startswith("#")
    ]
    if lines and lines[0][1].split()[0].upper() in _RUNS:
        return Metadata(
            foreign=f"it says how a model is run ({lines[0][1].split()[0].upper()} …), "
            "not which files it has"
        )
    modelfile = _Modelfile(path)
    for number, line in lines:
        modelfile.read(number, line)
    return modelfile.metadata()


class _Modelfile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fields: dict[str, Value] = {}
        self._picks: list[Pick] = []
        self._notes: list[str] = []

    def read(self, number: int, line: str) -> None:
        command, _, rest = line.replace("\t", " ", 1).partition(" ")
        name = command.upper()
        if name not in COMMANDS:
            self._fail(number, f"{command!r:.60} is no command", nearest(name, COMMANDS))
        values = self._arguments(number, rest)
        if len(values) != 1 or not values[0].strip():
            self._fail(number, f"{name} takes one value; one with spaces is put in quotes")
        if kind := _FILES.get(name):
            self._pick(number, values[0], kind)
        elif _FIELDS[name] in self._fields:
            self._fail(number, f"{name} is given twice")
        else:
            self._set(number, name, values[0])

    def metadata(self) -> Metadata:
        recipe = Recipe(self._path.name, tuple(self._picks))
        return Metadata(self._fields, recipe=recipe, notes=tuple(self._notes))

    def _arguments(self, number: int, text: str) -> list[str]:
        """The values of a line: quotes hold spaces together, a backslash takes any character."""
        values: list[str] = []
        current: list[str] = []
        quoted = escaped = begun = False
        for char in text:
            if escaped:
                current.append(char)
                escaped = False
            elif char == "\\":
                escaped = begun = True
            elif char == '"':
                quoted, begun = not quoted, True
            elif char in " \t" and not quoted:
                if begun:
                    values.append("".join(current))
                current, begun = [], False
            else:
                current.append(char)
                begun = True
        if quoted:
            self._fail(number, "quotes are opened and not closed")
        return [*values, "".join(current)] if begun else values

    def _set(self, number: int, command: str, text: str) -> None:
        field = _FIELDS[command]
        value: Value = text.strip()
        if command == "PRECISION":
            names = [each.strip() for each in text.split(",")]
            value = ",".join(_SHORT.get(each.lower(), each) for each in names)
        elif command == "PARAMSIZE":
            size = _size(text.strip())
            if size is None:
                self._notes.append(
                    f"{self._place(number)}: PARAMSIZE {text!r:.40} has no counterpart here and is "
                    "left out; it would be a number with K, M, B or T, like 6.7B"
                )
                return
            value = size
        try:
            self._fields[field] = check(field, value)
        except InputError as error:
            self._fail(number, error.message)

    def _pick(self, number: int, text: str, kind: Kind) -> None:
        path = inner_path(text.strip())
        if path is None:
            self._fail(number, f"{text!r:.120} leads out of the model's folder")
        is_glob = any(char in path for char in "*?[")
        self._picks.append(Pick(path, kind, kind, self._place(number), is_glob))

    def _place(self, number: int) -> str:
        return f"{self._path}, line {number}"

    def _fail(self, number: int, message: str, hint: str | None = None) -> NoReturn:
        raise InputError(f"{self._place(number)}: {message}", hint=hint)


def _size(text: str) -> str | None:
    """A number of parameters as the config has it: `8b`, `6.74B` and 8030261248 all mean one."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return param_size(int(text)) if int(text) >= _LEAST else None
    match = _SIZE.match(text)
    return param_size(int(Decimal(match[1]) * _SCALES[match[2].upper()])) if match else None
