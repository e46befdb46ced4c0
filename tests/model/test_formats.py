from __future__ import annotations

import struct

import pytest

from ocimlpack.model.formats import classify, is_lfs_pointer, mode, weight_rank
from tests.model import weights

ZIP = b"PK\x03\x04" + bytes(26) + b"archive/data.pkl"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9)
PE = b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\0\0"


@pytest.mark.parametrize(
    ("path", "kind", "format"),
    [
        ("model.safetensors", "weight", "safetensors"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "weight", "safetensors"),
        ("model.safetensors.index.json", "weight.config", None),
        ("Qwen-Q4_K_M.gguf", "weight", "gguf"),
        ("Qwen.gguf.part-00001-of-00002", "weight", "gguf"),
        ("onnx/model.onnx", "weight", "onnx"),
        ("onnx/model.onnx_data", "weight", "onnx"),
        ("onnx/model.onnx_data_1", "weight", "onnx"),
        ("onnx/model.onnx.data", "weight", "onnx"),
        ("model.pt", "weight", "pt"),
        ("model.ckpt", "weight", "pt"),
        ("pytorch_model.bin.index.json", "weight.config", None),
        ("optimizer.pt", "weight", "pt"),
        ("training_args.bin", "weight.config", None),
        ("rng_state_0.pth", "weight.config", None),
        ("saved_model.pb", "weight", "tensorflow"),
        ("variables/variables.data-00000-of-00001", "weight", "tensorflow"),
        ("variables/variables.index", "weight", "tensorflow"),
        ("keras_metadata.pb", "weight.config", None),
        ("fingerprint.pb", "weight.config", None),
        ("checkpoint", "weight.config", None),
        ("model.ckpt-1000.index", "weight", "tensorflow"),
        ("model.ckpt-1000.meta", "weight.config", None),
        ("tf_model.h5", "weight", "keras"),
        ("net.keras", "weight", "keras"),
        ("flax_model.msgpack", "weight", "flax"),
        ("model.tflite", "weight", "tflite"),
        ("clf.joblib", "weight", "joblib"),
        ("clf.joblib.gz", "weight", "joblib"),
        ("clf.pkl", "weight", "pickle"),
        ("clf.skops", "weight", "skops"),
        ("Net.mlpackage/Data/weights/weight.bin", "weight", "coreml"),
        ("pytorch_model-00001-of-00002.bin", "weight", None),
        ("config.json", "weight.config", None),
        ("1_Pooling/config.json", "weight.config", None),
        ("tokenizer.json", "weight.config", None),
        ("tokenizer.model", "weight.config", None),
        ("spiece.model", "weight.config", None),
        ("sentencepiece.bpe.model", "weight.config", None),
        ("source.spm", "weight.config", None),
        ("tokenizer.bin", "weight.config", None),
        ("qwen.tiktoken", "weight.config", None),
        ("vocab.txt", "weight.config", None),
        ("merges.txt", "weight.config", None),
        ("labels.txt", "weight.config", None),
        ("chat_template.jinja", "weight.config", None),
        ("params.yaml", "weight.config", None),
        ("word2vec.model", "weight", None),
        ("modeling_x.py", "code", None),
        ("Dockerfile", "code", None),
        ("requirements.txt", "code", None),
        ("requirements-dev.txt", "code", None),
        ("environment.yml", "code", None),
        ("notebook.ipynb", "code", None),
        (".gitattributes", "code", None),
        ("readme.py", "code", None),
        ("README", "doc", None),
        ("README.md", "doc", None),
        ("LICENSE", "doc", None),
        ("LICENSE.txt", "doc", None),
        ("LICENSE-APACHE", "doc", None),
        ("LICENSE.APACHE2", "doc", None),
        ("NOTICE", "doc", None),
        ("USE_POLICY.md", "doc", None),
        ("Model_Card.md", "doc", None),
        ("CITATION.cff", "doc", None),
        ("assets/plot.png", "doc", None),
        ("paper.pdf", "doc", None),
        # Their endings say what they are, whatever their names begin with.
        ("terms-classifier.safetensors", "weight", "safetensors"),
        ("citation_model.onnx", "weight", "onnx"),
        ("notice.json", "weight.config", None),
        ("vocab_head.safetensors", "weight", "safetensors"),
        ("train.parquet", "dataset", None),
        ("data/test.csv", "dataset", None),
        ("train.jsonl", "dataset", None),
        ("train.jsonl.gz", "dataset", None),
        ("dataset/train.json", "dataset", None),
        ("datasets/x/labels.txt", "dataset", None),
        ("datasets/README.md", "doc", None),
        ("data/config.json", "weight.config", None),
        ("sample.wav", "dataset", None),
        ("unknown", "weight.config", None),
        ("unknown.xyz", "weight.config", None),
        ("safetensors", "weight.config", None),
    ],
)
def test_names_tell_what_files_are_for(path: str, kind: str, format: str | None) -> None:
    role = classify(path, b"")
    assert (role.kind, role.format) == (kind, format)
    upper = classify(path.upper(), b"")
    assert (upper.kind, upper.format) == (kind, format)


@pytest.mark.parametrize(
    ("path", "head", "kind", "format"),
    [
        ("model", weights.gguf({}), "weight", "gguf"),
        ("sha256-0123", weights.safetensors({"a": ("F32", (1,))}), "weight", "safetensors"),
        ("pytorch_model.bin", ZIP, "weight", "pt"),
        ("old.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "weight", "pt"),
        ("model.ts", ZIP, "weight", "pt"),
        ("index.ts", b"export {}", "code", None),
        ("ggml-model.bin", b"lmgg" + bytes(40), "weight", "ggml"),
        ("model", b"\x89HDF\r\n\x1a\n", "weight", "keras"),
        ("net", bytes(4) + b"TFL3", "weight", "tflite"),
        ("server", ELF + struct.pack("<H", 3) + bytes(40), "code", None),
        ("run", b"#!/bin/sh\n", "code", None),
        ("tool.bin", ELF + struct.pack("<H", 2) + bytes(40), "code", None),
        ("model.llamafile", PE, "weight", "gguf"),
        ("training_args.bin", ZIP, "weight.config", None),
    ],
)
def test_content_tells_more_than_names(
    path: str, head: bytes, kind: str, format: str | None
) -> None:
    role = classify(path, head)
    assert (role.kind, role.format) == (kind, format)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#!/usr/bin/env python3\n", 0o755),
        (b"#! /bin/sh\n", 0o755),
        (b"#!\t/bin/sh\n", 0o755),
        (b"#![allow(unused)]\n", 0o644),
        (b"# !/bin/sh\n", 0o644),
        (b" #!/bin/sh\n", 0o644),
        (ELF + struct.pack("<H", 2), 0o755),
        (ELF + struct.pack("<H", 3), 0o755),
        (ELF + struct.pack("<H", 1), 0o644),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">H", 2), 0o755),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack("<H", 2), 0o644),
        (b"\x7fELF", 0o644),
        (b"\xcf\xfa\xed\xfe" + bytes(28), 0o755),
        (b"\xfe\xed\xfa\xce" + bytes(28), 0o755),
        (b"\xca\xfe\xba\xbe" + struct.pack(">I", 2) + bytes(28), 0o755),
        (b"\xca\xfe\xba\xbe" + struct.pack(">I", 52) + bytes(28), 0o644),
        (b"\xcf\xfa\xed\xfe", 0o644),
        (PE, 0o755),
        (PE[:-4] + b"NE\0\0", 0o644),
        (b"MZ and other letters", 0o644),
        (b"", 0o644),
        (b"{}", 0o644),
    ],
)
def test_the_mode_comes_from_the_content(head: bytes, expected: int) -> None:
    assert oct(mode(head)) == oct(expected)


def test_pointers_of_git_lfs_are_known() -> None:
    assert is_lfs_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert not is_lfs_pointer(b"version 1")


def test_formats_that_servers_take_come_first() -> None:
    formats = ["onnx", None, "gguf", "pt", "safetensors"]
    assert sorted(formats, key=weight_rank) == ["safetensors", "gguf", "onnx", None, "pt"]
