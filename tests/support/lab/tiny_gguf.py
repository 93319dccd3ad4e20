# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a language model of a few kilobytes: a file in the format GGUF, with weights of zero.

The format is that of ggml's docs/gguf.md; the names are those of llama.cpp's architecture `llama`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

WIDTH, CONTEXT, VOCABULARY = 32, 64, 64
ALIGNMENT = 32
#: Types of values, and the type of a tensor of 32-bit numbers.
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
TENSOR_F32 = 0


def make_model() -> bytes:
    """Return the bytes of a model with one layer."""
    tokens = ["<unk>", "<s>", "</s>", *(f"t{number}" for number in range(3, VOCABULARY))]
    values = [
        _text("general.architecture", "llama"),
        _text("general.name", "tiny"),
        _number("general.file_type", TENSOR_F32),
        _number("general.alignment", ALIGNMENT),
        _number("llama.context_length", CONTEXT),
        _number("llama.embedding_length", WIDTH),
        _number("llama.block_count", 1),
        _number("llama.feed_forward_length", WIDTH),
        _number("llama.rope.dimension_count", WIDTH),
        _number("llama.attention.head_count", 1),
        _number("llama.attention.head_count_kv", 1),
        _string("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", FLOAT32, 1e-5),
        _text("tokenizer.ggml.model", "llama"),
        _array("tokenizer.ggml.tokens", STRING, [_string(token) for token in tokens]),
        _array("tokenizer.ggml.scores", FLOAT32, [struct.pack("<f", 0.0)] * VOCABULARY),
        _array("tokenizer.ggml.token_type", INT32, [struct.pack("<i", 1)] * VOCABULARY),
        _number("tokenizer.ggml.bos_token_id", 1),
        _number("tokenizer.ggml.eos_token_id", 2),
    ]
    square, line, table = (WIDTH, WIDTH), (WIDTH,), (WIDTH, VOCABULARY)
    tensors: dict[str, tuple[int, ...]] = {"token_embd": table, "output_norm": line, "output": table}
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.0.{name}"] = line
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        tensors[f"blk.0.{name}"] = square
    described, size_bytes = b"", 0
    for name, shape in tensors.items():
        described += _string(f"{name}.weight") + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        described += struct.pack("<IQ", TENSOR_F32, size_bytes)
        size_bytes += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values) + described
    return head + bytes(-len(head) % ALIGNMENT) + bytes(size_bytes)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", STRING) + _string(value)


def _number(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", UINT32, value)


def _array(key: str, kind: int, items: Sequence[bytes]) -> bytes:
    return _string(key) + struct.pack("<IIQ", ARRAY, kind, len(items)) + b"".join(items)
