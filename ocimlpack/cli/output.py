"""Where text goes: results to standard output, everything that is for the eye to standard error."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TextIO

import click

from ocimlpack.cli import render
from ocimlpack.errors import OcimlpackError


@dataclass(slots=True)
class Output:
    """How much is said, as the options of one run decide; and the means to say it.

    Attributes:
        json: results and errors are one JSON document.
        quiet: nothing but results and errors.
        verbose: also why a request was tried again.
        progress: whether progress is shown at all.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    _warned: set[str] = field(default_factory=set)

    def result(self, value: Any, *lines: str) -> None:
        """Print a result: as JSON, or as lines whose unsafe characters are escaped."""
        if self.json:
            self.raw(render.document(value).encode("ascii"))
            return
        text = "".join(f"{render.escape(line)}\n" for line in lines)
        self.raw(text.encode(_stdout().encoding or "utf-8", "backslashreplace"))

    def place(self, value: Any, place: str) -> None:
        """Print a result that is a path or a location.

        It is exact where a program reads it, because a script must be able to use it again; on a
        terminal it is escaped.
        """
        if self.json or _stdout().isatty():
            self.result(value, place)
        else:
            self.raw(os.fsencode(place) + b"\n")

    def raw(self, content: bytes) -> None:
        """Print bytes as they are."""
        stream = self.stream()
        stream.write(content)
        stream.flush()

    def stream(self) -> BinaryIO:
        """Standard output, for bytes.

        Raises:
            OcimlpackError: it is closed.
        """
        stdout = _stdout()
        stdout.flush()
        return stdout.buffer

    def note(self, text: str) -> None:
        """Say something that a person may want to know; not with --quiet or --json."""
        if not (self.quiet or self.json):
            eprint(text)

    def warn(self, message: str) -> None:
        """Say something that a person should know, once; not with --quiet."""
        if not self.quiet and message not in self._warned:
            self._warned.add(message)
            eprint(f"warning: {message}")


def eprint(line: str) -> None:
    """Write one line to standard error, its unsafe characters escaped.

    It is one write, so that lines of several threads do not mix. A standard error that is closed or
    that nobody reads any more stops no transfer: there is nobody left to tell.
    """
    stream: TextIO | None = sys.stderr
    if stream is None:
        return
    try:
        stream.write(f"{render.escape(line)}\n")
        stream.flush()
    except BrokenPipeError:
        return


def _stdout() -> TextIO:
    stream: TextIO | None = sys.stdout
    if stream is None:
        raise OcimlpackError("standard output is closed, so the result can't be printed")
    return stream


pass_output = click.make_pass_decorator(Output, ensure=True)
