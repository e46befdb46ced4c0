from __future__ import annotations

import io
import pickle

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Header, Tensor, UnknownFormError, parameters, torch
from ocimlpack.model.headers.table import read_header
from tests.model import torch_files as files
from tests.model.sparse import Sparse
from tests.model.torch_files import dictionary, name, parameter, tensor, text


def read(content: Sparse | bytes) -> Header:
    if isinstance(content, Sparse):
        return torch.read(content.stream(), len(content))
    return torch.read(io.BytesIO(content), len(content))


def refused(content: Sparse | bytes, reason: str | None) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        read(content)


STATE = dictionary(
    {
        "w": tensor("0", (3, 4)),
        "h": parameter(tensor("1", (10,), "BFloat16")),
        "n": tensor("2", (), "Long"),
    }
)
STORAGES = {"0": bytes(48), "1": bytes(20), "2": bytes(8)}


def test_a_checkpoint_says_where_its_tensors_are() -> None:
    content = files.checkpoint(STATE, {**STORAGES, "0": b"w" * 48, "1": b"h" * 20})
    header = read(content)
    w, h, n = (header.tensors[each] for each in "whn")
    assert (w.type, w.count, w.shape, w.size) == ("float32", 12, (3, 4), 48)
    assert (h.type, h.count, h.shape, h.size) == ("bfloat16", 10, (10,), 20)
    assert (n.type, n.count, n.shape, n.size) == ("int64", 1, (), 8)
    assert w.start is not None
    assert content[w.start : w.start + 48] == b"w" * 48
    assert h.start is not None
    assert content[h.start : h.start + 20] == b"h" * 20
    assert header.facts == {
        "torch.kind": "checkpoint",
        "torch.archive_version": "3",
        "torch.byteorder": "little",
    }


def test_storages_that_are_not_where_pytorch_puts_them_have_no_place() -> None:
    members = {"m/data.pkl": files.pickled(STATE), "m/data/0": b"w" * 48}
    content = files.archive({**members, "m/data/1": b"h" * 20, "m/data/2": bytes(8)}, alignment=4)
    tensors = read(content).tensors
    for key, byte in (("w", b"w"), ("h", b"h")):
        start = tensors[key].start
        assert start is None or content[start : start + 4] == byte * 4
    assert tensors["h"] == Tensor("bfloat16", 10, (10,))


def test_views_share_a_storage_and_count_once() -> None:
    value = dictionary(
        {
            "whole": tensor("0", (4, 3)),
            "tied": tensor("0", (4, 3)),
            "half": tensor("0", (2, 3), offset=6),
            "turned": tensor("0", (3, 4), steps=(1, 3)),
        }
    )
    header = read(files.checkpoint(value, {"0": bytes(48)}))
    whole, tied, half, turned = header.tensors.values()
    assert whole == tied
    assert whole.start is not None
    assert half == Tensor("float32", 6, (2, 3), whole.start + 24, 24)
    assert turned == Tensor("float32", 12, (3, 4))
    assert sum(each.count for each in parameters(header)) == 12 + 6 + 12


def test_the_states_of_an_optimizer_are_no_parameters() -> None:
    state = dictionary({"exp_avg": tensor("1", (3, 4)), "step": tensor("2", (), "Long")})
    value = dictionary(
        {
            "model": dictionary({"w": tensor("0", (3, 4)), "optimal.w": tensor("3", (2,))}),
            "optimizer_state": dictionary({"state": dictionary({"7": state})}),
            "other": state,
        }
    )
    header = read(
        files.checkpoint(value, {"0": bytes(48), "1": bytes(48), "2": bytes(8), "3": bytes(8)})
    )
    assert len(header.tensors) == 6
    assert [each.shape for each in parameters(header)] == [(3, 4), (2,), ()]


def test_a_whole_module_is_named_as_its_state_would_be() -> None:
    linear = (
        name("torch.nn.modules.linear", "Linear")
        + b")\x81"
        + dictionary({"_parameters": dictionary({"weight": parameter(tensor("0", (3, 4)))})})
        + b"b"
    )
    value = (
        name("model", "Net")
        + b")\x81"
        + dictionary({"_modules": dictionary({"fc": linear}), "training": b"\x89"})
        + b"b"
    )
    header = read(files.checkpoint(value, {"0": bytes(48)}))
    assert list(header.tensors) == ["fc.weight"]
    assert header.facts["class"] == "model.Net"
    assert header.facts["imports"] == "model.Net, torch.nn.modules.linear.Linear"


def test_what_a_checkpoint_would_run_is_said_and_not_run() -> None:
    value = dictionary({"w": tensor("0", (1,)), "x": files.call(name("os", "system"), b"N")})
    header = read(files.checkpoint(value, {"0": bytes(4)}))
    assert list(header.tensors) == ["w"]
    assert header.facts["imports"] == "os.system"


def test_torchscript_is_told_from_a_checkpoint() -> None:
    value = name("__torch__.net.___torch_mangle_3", "Net") + b")\x81" + STATE + b"b"
    header = read(files.checkpoint(value, STORAGES, **{"code/__torch__/net.py": b"def f(): ..."}))
    assert header.facts["torch.kind"] == "TorchScript"
    assert header.facts["class"] == "net.Net"
    assert list(header.tensors) == ["w", "h", "n"]


def test_tensors_without_data_are_listed() -> None:
    absent = files.call(
        name("torch._utils", "_rebuild_meta_tensor_no_storage"),
        name("torch", "float16"),
        files.numbers((2, 5)),
        files.numbers((5, 1)),
        b"\x89",
    )
    header = read(files.checkpoint(dictionary({"w": absent}), {}))
    assert header.tensors == {"w": Tensor("float16", 10, (2, 5))}


def test_tensors_of_subclasses_are_found() -> None:
    inner = tensor("0", (1,))
    arguments = inner[len(name("torch._utils", "_rebuild_tensor_v2")) : -1]
    value = files.call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch._utils", "_rebuild_tensor_v2"),
        name("torch.nn.parameter", "Parameter"),
        arguments,
        b"}",
    )
    header = read(files.checkpoint(dictionary({"w": value}), {"0": bytes(4)}))
    assert header.tensors["w"].size == 4
    assert header.facts["imports"] == "torch.nn.parameter.Parameter"


def test_old_checkpoints_are_read() -> None:
    value = dictionary(
        {
            "w": tensor("94", (3, 4), legacy=True),
            "v": tensor("95", (2,), "Half", offset=3, legacy=True),
        }
    )
    content = files.legacy(value, {"94": ("Float", 12), "95": ("Half", 5)})
    header = read(content)
    end = len(content)
    assert header.tensors == {
        "w": Tensor("float32", 12, (3, 4), end - 10 - 8 - 48, 48),
        "v": Tensor("float16", 2, (2,), end - 4, 4),
    }
    assert header.facts == {"torch.kind": "legacy checkpoint"}
    for length in range(len(content)):
        with pytest.raises(InvalidContentError):
            read(content[:length])


def test_checkpoints_that_python_2_wrote_are_read() -> None:
    pair = b"](" + text("w") + tensor("0", (3, 4), legacy=True) + b"e"
    value = files.call(name("collections", "OrderedDict"), b"](" + pair + b"e")
    content = files.legacy(value, {"0": ("Float", 12)})
    assert read(content).tensors == {"w": Tensor("float32", 12, (3, 4), len(content) - 48, 48)}


def test_old_checkpoints_of_other_versions_are_not_read() -> None:
    content = files.legacy(STATE, {})
    other = content.replace(b"M\xe9\x03.", b"M\xea\x03.", 1)
    with pytest.raises(UnknownFormError):
        read(other)
    assert read_header("a.pt", "pt", io.BytesIO(other), len(other)) is None


def test_what_is_no_pytorch_file_is_not_damaged_but_something_else() -> None:
    for content in (b"", b"plain text", b"\x7fELF"):
        assert read_header("a.pt", "pt", io.BytesIO(content), len(content)) is None
    plain = pickle.dumps({"a": [1]})
    header = read_header("a.pt", "pt", io.BytesIO(plain), len(plain))
    assert header is not None
    assert header.facts == {"class": "dict"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (tensor("0", (3, 5)), "'a' lies outside what is stored"),
        (tensor("0", (3, 4), offset=1), "'a' lies outside what is stored"),
        (tensor("0", (3, 4), offset=-1), "'a' lies outside what is stored"),
        (tensor("0", (3, 4), steps=(2**40, 1)), "'a' lies outside what is stored"),
        (tensor("0", (3, 4), steps=(1,)), "'a' lies outside what is stored"),
        (tensor("0", (-3, 4)), "'a' lacks a type, a shape or its place"),
        (tensor("0", (3, 4), steps=(-4, 1)), "'a' lacks a type, a shape or its place"),
        (tensor("0", (2**40, 2**40)), "'a' has more numbers than can be"),
        (tensor("7", (1,)), "'a' is in a storage that is not there"),
        (files.call(name("torch._utils", "_rebuild_tensor_v2"), b"N"), "'a' lacks a type"),
    ],
)
def test_tensors_that_can_not_be_are_refused(value: bytes, reason: str) -> None:
    refused(files.checkpoint(dictionary({"a": value}), {"0": bytes(48)}), reason)


def test_archives_that_are_not_pytorch_s_are_refused() -> None:
    refused(files.archive({"a/b.txt": b"x"}), "no data.pkl")
    compressed = files.archive({"m/data.pkl": files.pickled(STATE) + bytes(500)}, method=8)
    refused(compressed, "is compressed, as PyTorch never does")
    refused(files.archive({"m/data.pkl": 2**27}), "has 134,217,728 bytes")


def test_a_checkpoint_cut_anywhere_is_refused() -> None:
    content = files.checkpoint(STATE, STORAGES)
    raw = content[0 : len(content)]
    for length in range(2, len(raw)):
        refused(raw[:length], None)
