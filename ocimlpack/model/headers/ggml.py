"""The types of ggml's tensors: their names, and the bytes that they take.

https://github.com/ggml-org/ggml/blob/master/include/ggml.h, and the sizes of the blocks in
https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Type(NamedTuple):
    """How numbers are stored.

    Attributes:
        name: ModelPack's name, or ggml's in lower case where that has none.
        block: how many numbers are stored together.
        size: the bytes of such a block.
    """

    name: str
    block: int
    size: int


PLAIN: Final = {
    0: Type("float32", 1, 4),
    1: Type("float16", 1, 2),
    24: Type("int8", 1, 1),
    25: Type("int16", 1, 2),
    26: Type("int32", 1, 4),
    27: Type("int64", 1, 8),
    28: Type("float64", 1, 8),
    30: Type("bfloat16", 1, 2),
}
"""The types that have a name in ModelPack."""

QUANTIZED: Final = {
    2: Type("q4_0", 32, 18),
    3: Type("q4_1", 32, 20),
    6: Type("q5_0", 32, 22),
    7: Type("q5_1", 32, 24),
    8: Type("q8_0", 32, 34),
    10: Type("q2_k", 256, 84),
    11: Type("q3_k", 256, 110),
    12: Type("q4_k", 256, 144),
    13: Type("q5_k", 256, 176),
    14: Type("q6_k", 256, 210),
    15: Type("q8_k", 256, 292),
    16: Type("iq2_xxs", 256, 66),
    17: Type("iq2_xs", 256, 74),
    18: Type("iq3_xxs", 256, 98),
    19: Type("iq1_s", 256, 50),
    20: Type("iq4_nl", 32, 18),
    21: Type("iq3_s", 256, 110),
    22: Type("iq2_s", 256, 82),
    23: Type("iq4_xs", 256, 136),
    29: Type("iq1_m", 256, 56),
    34: Type("tq1_0", 256, 54),
    35: Type("tq2_0", 256, 66),
    39: Type("mxfp4", 32, 17),
    40: Type("nvfp4", 64, 36),
    41: Type("q1_0", 128, 18),
}
"""The types whose numbers are packed in blocks with a scale. All others are of later versions."""

BLOCKS: Final = frozenset(each.name for each in QUANTIZED.values())

# `llama_ftype`, https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h, without those
# that stand for plain numbers (0, 1 and 32).
MIXES: Final = {
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""What whole files are called by the types that are mixed in them."""


def named(number: int) -> tuple[str, Type | None]:
    """A type's name, and the type if it is known."""
    found = PLAIN.get(number) or QUANTIZED.get(number)
    return (found.name, found) if found else (f"ggml-{number}", None)


def is_quantized(name: str) -> bool:
    """Whether this is the name of a type whose numbers are packed, or may be."""
    return name in BLOCKS or name.startswith("ggml-")
