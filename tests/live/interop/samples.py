"""What is understood of what other programs wrote elsewhere, of which manifest and config are kept.

They are on no package registry, or need a daemon of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ocimlpack.model import readers
from tests.model.readers.test_golden import Config
from tests.model.readers.test_golden import sample as manifest_of


@dataclass(frozen=True)
class Sample:
    """A manifest that another program wrote: a row of the page.

    Attributes:
        writer: the program, and what it was told to write, as the page shows it.
        name: of the sample in tests/golden/formats.
        format: what it is taken for.
        paths: whether its files have the paths that its writer gave them, or names made up here.
    """

    writer: str
    name: str
    format: str
    paths: str


KEPT = "kept"
MADE_UP = "none there; files are named after what they are"

SAMPLES = (
    Sample("Docker Model Runner: GGUF", "dmr-gguf", "docker-model", KEPT),
    Sample("Docker Model Runner: safetensors", "dmr-st", "docker-model", KEPT),
    Sample("Docker Model Runner: GGUF, `--format cncf`", "dmr-ggufcncf", "modelpack", KEPT),
    Sample("Docker Model Runner: safetensors, `--format cncf`", "dmr-stcncf", "modelpack", KEPT),
    Sample("Ollama", "ollama.public-example", "ollama", MADE_UP),
    Sample("modctl: files", "modctl-raw", "modelpack", KEPT),
    Sample("modctl: archives", "modctl-tar", "modelpack", KEPT),
    Sample("KitOps 1.7", "kit-v1.7-modelkit", "modelkit", KEPT),
)


def observe(sample: Sample) -> tuple[str, str]:
    """What it is taken for, and what became of its paths."""
    with pytest.MonkeyPatch.context() as patch:
        # Samples are indented for people to read, so they have lost their digests.
        read_all = "ocimlpack.model.readers.source.read_all"
        patch.setattr(read_all, lambda blob, desc: blob.content)
        found = readers.understand(Config(sample.name), manifest_of(sample.name))
        assert found.members
        return found.format, MADE_UP if found.notes else KEPT
