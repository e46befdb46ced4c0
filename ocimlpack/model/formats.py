"""What a file of a model is for and how its weights are stored, told from its name and first bytes.

Content wins over names where it is unmistakable. Nothing here depends on a file's size, mode or
time, so the same files are always taken for the same things.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from ocimlpack.model.headers.safetensors import MAX_HEADER
from ocimlpack.spec.mediatypes import Kind

HEAD: Final = 4096
"""How many first bytes of a file are looked at."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a file is for.

    Attributes:
        kind: its kind of layer.
        format: how weights are stored, in the words of ModelPack's `format` where it has one; None
            for other files and for weights whose format isn't known.
    """

    kind: Kind
    format: str | None = None


_CONFIG: Final = Role("weight.config")
_CODE: Final = Role("code")
_DOC: Final = Role("doc")
_DATASET: Final = Role("dataset")
_WEIGHT: Final = Role("weight")

# By the end of the name, the longest first. `pt` is what the specification calls PyTorch's format:
# https://github.com/modelpack/model-spec/blob/main/docs/config.md
_WEIGHTS: Final = {
    "safetensors": ("safetensors",),
    "gguf": ("gguf", "llamafile"),
    "ggml": ("ggml",),
    "onnx": ("onnx", "onnx_data", "ort"),
    "pt": ("pt", "pth", "ckpt", "jit", "torchscript", "pt2"),
    "nemo": ("nemo",),
    "tensorflow": ("pb", "pbtxt"),
    "tflite": ("tflite",),
    "keras": ("keras", "h5", "hdf5"),
    "flax": ("msgpack",),
    "pickle": ("pkl", "pickle", "dill"),
    "joblib": ("joblib",),
    "skops": ("skops",),
    "coreml": ("mlmodel", "mlpackage"),
    "executorch": ("pte",),
    "paddle": ("pdparams", "pdiparams", "pdmodel"),
    "tensorrt": ("engine", "plan", "trt"),
    "xgboost": ("ubj", "xgb", "bst"),
    "catboost": ("cbm",),
    "numpy": ("npz", "npy"),
    "": ("bin", "model", "weights", "params", "caffemodel", "mar"),
}
_CODES: Final = (
    "py pyi ipynb sh bash zsh bat ps1 c cc cpp cxx h hpp cu cuh m mm rs go java kt scala js mjs ts "
    "lua r rb pl jl swift cs so dylib dll whl jar wasm gitattributes gitignore gitmodules"
)
_DOCS: Final = (
    "md markdown rst adoc pdf html htm tex bib cff docx odt png jpg jpeg gif svg webp bmp mp4 webm"
)
_DATASETS: Final = (
    "parquet csv tsv jsonl ndjson arrow feather avro orc tfrecord tfrecords webdataset lance "
    "wav flac mp3 ogg"
)
_CONFIGS: Final = (
    "json txt yaml yml toml ini cfg conf xml jinja jinja2 tiktoken spm bpe vocab merges"
)


def _endings() -> dict[str, Role]:
    table = {
        ending: Role("weight", name or None)
        for name, endings in _WEIGHTS.items()
        for ending in endings
    }
    for role, endings in (
        (_CODE, _CODES),
        (_DOC, _DOCS),
        (_DATASET, _DATASETS),
        (_CONFIG, _CONFIGS),
    ):
        table.update(dict.fromkeys(endings.split(), role))
    return table


_ENDINGS: Final = _endings()

# What people read, by the beginning of the name, unless its end says that it is something else.
_READ: Final = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|changes|authors|contributors|citation|disclaimer"
    r"|model[_-]?card|use[_-]policy|acceptable[_-]use[_-]policy|terms)([._-].*)?"
)

# Whole names, which win over endings. The patterns see the name in lower case.
_NAMES: Final[tuple[tuple[re.Pattern[str], Role], ...]] = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        # What builds and runs.
        (r"(docker|container|make)file(\..*)?|.*requirements.*\.txt|environment\.ya?ml", _CODE),
        (r"pyproject\.toml|setup\.cfg|pipfile(\.lock)?|poetry\.lock|uv\.lock|conda\.ya?ml", _CODE),
        # SentencePiece models and other tokenizers have endings that weights have, too.
        (r"(.*[._-])?(tokenizer|spiece|sentencepiece|spm|bpe)\.model", _CONFIG),
        (r"(source|target)\.(model|spm)|(.*[._-])?tokenizer.*\.(bin|pkl|pickle)", _CONFIG),
        (r"(.*[._-])?(vocab|merges)([._-].*)?\.(txt|json|tsv|bpe|bin|pkl|model)", _CONFIG),
        # What a trainer leaves beside the weights: settings and states, not parameters.
        (r"(training_args|rng_state.*|scheduler|scaler)\.(bin|pt|pth)", _CONFIG),
        (r"(keras_metadata|fingerprint)\.pb", _CONFIG),
        # TensorFlow's checkpoints: https://www.tensorflow.org/guide/checkpoint
        (r"checkpoint|.*\.ckpt(-\d+)?\.meta", _CONFIG),
        (
            r".*\.data-\d{5}-of-\d{5}|variables\.index|.*\.ckpt(-\d+)?\.index",
            Role("weight", "tensorflow"),
        ),
        # ONNX's external data: https://onnx.ai/onnx/repo-docs/ExternalData.html
        (r".*\.onnx[._]data([._]?\d+)?", Role("weight", "onnx")),
        # Parts such as `model.bin.1` and `model.gguf.part-00001-of-00002`.
        (r".*\.gguf[._-].*\d+", Role("weight", "gguf")),
        (r".*\.bin[._-]?\d+", _WEIGHT),
    )
)

_COMPRESSED: Final = re.compile(r"(.+)\.(gz|bz2|xz|zst|lz4)\Z")
_DATA_FOLDER: Final = re.compile(r"(?:^|/)(?:datasets?|corpus|corpora)/")
_DATA_ENDINGS: Final = frozenset({"json", "txt", "xml", "npy", "npz", "zip", "tar", "bin", "yaml"})
_COREML_FOLDER: Final = re.compile(r"\.ml(?:package|modelc)/")


def classify(path: str, head: bytes) -> Role:
    """What a file is for.

    Args:
        path: its path in the model.
        head: its first `HEAD` bytes, or all of them.
    """
    if head.startswith(b"GGUF"):
        return Role("weight", "gguf")
    name = path.rpartition("/")[2].lower()
    if match := _COMPRESSED.match(name):
        name = match[1]
    ending = name.rpartition(".")[2]
    if ending in _DATA_ENDINGS and _DATA_FOLDER.search(path.lower()):
        return _DATASET
    role = next((role for pattern, role in _NAMES if pattern.fullmatch(name)), None)
    if role:
        return role
    role = _ENDINGS.get(ending) if "." in name else None
    if role in {None, _DOC} or ending == "txt":
        return _DOC if _READ.fullmatch(name) else role or _by_content(head)
    if role == _CODE:
        # `.ts` is TypeScript, and what some call TorchScript.
        found = _weight_format(head)
        return Role("weight", found) if found else _CODE
    if role == _WEIGHT:
        return _unnamed_weight(path, head)
    return role or _CONFIG


def mode(head: bytes) -> int:
    """Permission bits for a file: 0755 for what a system can execute, else 0644.

    They come from the content, not from the file system: some have no such bits, an unpacked
    archive or a checkout may have lost them, and a digest must not depend on it.
    """
    return 0o755 if is_executable(head) else 0o644


def is_executable(head: bytes) -> bool:
    """Whether a file begins as a script with an interpreter, or as a program in machine code.

    Libraries count as programs: from the first bytes, an ELF library can't be told from a program
    that may be loaded anywhere, and the bit does a library no harm.
    """
    return (
        re.match(rb"#![ \t]*/", head) is not None
        or _is_elf(head)
        or _is_macho(head)
        or _is_portable_executable(head)
    )


def is_lfs_pointer(head: bytes) -> bool:
    """Whether this is what Git LFS leaves in place of a file that it has not downloaded.

    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md#the-pointer
    """
    return head.startswith(b"version https://git-lfs.github.com/spec/")


def weight_rank(name: str | None) -> int:
    """Where weights of a format stand among the layers.

    Docker Model Runner takes the first weight layer for the model, so the formats that it serves
    come first.
    """
    return {"safetensors": 0, "gguf": 1}.get(name or "", 2)


def _unnamed_weight(path: str, head: bytes) -> Role:
    """A file whose ending is that of many things, weights mostly."""
    if is_executable(head):
        return _CODE
    coreml = _COREML_FOLDER.search(path.lower())
    return Role("weight", "coreml" if coreml else _weight_format(head))


def _by_content(head: bytes) -> Role:
    if is_executable(head):
        return _CODE
    if found := _weight_format(head):
        return Role("weight", found)
    return _CONFIG


def _weight_format(head: bytes) -> str | None:
    """The format of a file whose name says nothing, by its first bytes."""
    # A zip archive whose first member is a pickle, or PyTorch's older magic number as a pickle:
    # https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
    if (head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[:256]) or head.startswith(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    ):
        return "pt"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#historical-state-of-affairs
    if head[:4] in {b"lmgg", b"fmgg", b"tjgg", b"algg"}:
        return "ggml"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[8:9] == b"{" and 2 <= struct.unpack_from("<Q", head)[0] <= MAX_HEADER:
        return "safetensors"
    return None


def _is_elf(head: bytes) -> bool:
    """https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html: ET_EXEC and ET_DYN."""
    if len(head) < 18 or not head.startswith(b"\x7fELF"):
        return False
    order = ">H" if head[5] == 2 else "<H"
    return struct.unpack_from(order, head, 16)[0] in {2, 3}


def _is_macho(head: bytes) -> bool:
    """Thin images by their magic number; universal ones also by a count that no Java class has.

    https://github.com/apple-oss-distributions/xnu/blob/main/EXTERNAL_HEADERS/mach-o/loader.h
    """
    if len(head) < 28:
        return False
    first, second = struct.unpack_from(">II", head)
    thin = first in {0xFEEDFACE, 0xFEEDFACF, 0xCEFAEDFE, 0xCFFAEDFE}
    return thin or (first in {0xCAFEBABE, 0xCAFEBABF} and 0 < second < 40)


def _is_portable_executable(head: bytes) -> bool:
    """https://learn.microsoft.com/windows/win32/debug/pe-format: `PE` where the DOS stub says."""
    if len(head) < 64 or not head.startswith(b"MZ"):
        return False
    at = struct.unpack_from("<I", head, 60)[0]
    return head[at : at + 4] == b"PE\0\0"
