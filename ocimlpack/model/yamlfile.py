"""YAML files that people write, as trees of nodes whose mistakes can be named by their line.

Nothing in a file is constructed: `language: no` or `version: 1.10` stay what was written.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import yaml

from ocimlpack.errors import InputError

Node = yaml.Node

_TAGS: Final = frozenset({"str", "int", "float", "bool", "timestamp", "merge", "value"})
"""What YAML takes plain text for. Here it is text all the same."""
_TRUTHS: Final = {"true": True, "false": False}


def compose(path: Path, raw: bytes) -> Node | None:
    """The root of a file's tree; None if there is nothing in it.

    Args:
        path: what errors call it.
        raw: its content.

    Raises:
        InputError: it is not YAML.
    """
    try:
        # SafeLoader composes nodes and constructs nothing; a tag can't name a class.
        return yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Its scanner lets through what Python says of numbers and of characters that are none.
        raise InputError(f"{path} is not YAML: {_reason(error)}") from error


@dataclass(frozen=True, slots=True)
class YamlFile:
    """Reads nodes of one file as what they have to be.

    Attributes:
        path: what errors call it.
    """

    path: Path

    def pairs(
        self, node: Node, what: str, known: Sequence[str] | None = None
    ) -> list[tuple[str, Node, Node]]:
        """The keys of a mapping in their order, with the nodes of the keys and of the values.

        Args:
            node: the mapping, or null, which has no keys.
            what: what errors call it.
            known: the keys that it may have; None for any.

        Raises:
            InputError: it is no mapping, or a key is not known or there twice.
        """
        if is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} is not made of keys with values")
        found: dict[str, tuple[Node, Node]] = {}
        for key_node, value in node.value:
            key = self.text(key_node, "a key")
            if known is not None and key not in known:
                self.fail(key_node, f"{key!r:.60} is not known", nearest(key, known))
            if key in found:
                self.fail(key_node, f"{key!r:.60} is given twice")
            found[key] = (key_node, value)
        return [(key, *nodes) for key, nodes in found.items()]

    def items(self, node: Node, what: str) -> list[Node]:
        """The items of a list.

        Raises:
            InputError: it is none.
        """
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what} is a list")
        return list(node.value)

    def texts(self, node: Node, what: str) -> tuple[str, ...]:
        """A list of texts; a single one may stand without its brackets."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(each, f"an item of {what}") for each in node.value)
        if isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} is a list of texts")
        return (self.text(node, what),)

    def text(self, node: Node, what: str) -> str:
        """A single text, as it was written."""
        if not isinstance(node, yaml.ScalarNode) or is_null(node):
            self.fail(node, f"{what} is a single text")
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            self.fail(node, f"{what} has the tag {node.tag!r:.60}, which means nothing here")
        return str(node.value)

    def truth(self, node: Node, what: str) -> bool:
        """True or false, in whatever case."""
        text = self.text(node, what).lower()
        if text not in _TRUTHS:
            self.fail(node, f"{what} is true or false, not {text!r:.60}")
        return _TRUTHS[text]

    def place(self, node: Node) -> str:
        """Where a node is: the file and the line."""
        return f"{self.path}, line {node.start_mark.line + 1}"

    def fail(self, node: Node, message: str, hint: str | None = None) -> NoReturn:
        """Say what is wrong with a node.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.place(node)}: {message}", hint=hint)


def is_null(node: Node) -> bool:
    """Whether nothing stands there, or null."""
    return isinstance(node, yaml.ScalarNode) and str(node.tag) == "tag:yaml.org,2002:null"


def nearest(key: str, known: Sequence[str]) -> str:
    """A hint: which known key was meant, or all of them."""
    folded = {each.lower().replace("_", ""): each for each in known}
    close = difflib.get_close_matches(key.lower().replace("_", ""), list(folded), n=1)
    if close:
        return f"did you mean {folded[close[0]]}?"
    return f"known are {', '.join(known)}"


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return " ".join(str(error).split())
