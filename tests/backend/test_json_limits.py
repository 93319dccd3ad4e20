# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON is counted before it is parsed, and what is counted is what a parser would make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.core import json_depth
from noslop_backend.core.json_depth import TooLargeError, check, loads

_TEXTS = st.text(alphabet='[]{}",:\\/a\né\ud83d', max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=40,
)


def _depth(value: Any) -> int:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(_VALUES, st.integers(0, 6), st.booleans(), st.sampled_from([None, 1]))
def test_depth_is_that_of_the_parsed_value(value: object, depth: int, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    if _depth(value) > depth:
        with pytest.raises(TooLargeError):
            check(text, depth)
    else:
        check(text, depth)


@given(_VALUES)
def test_what_is_small_is_parsed_as_ever(value: object) -> None:
    text = json.dumps(value)
    assert loads(text) == loads(text.encode()) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\1', max_size=200).map(str.encode))
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    try:
        expected = json.loads(text.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(ValueError, match=r"\w"):
            loads(text)
    else:
        assert loads(text) == expected or expected != expected  # noqa: PLR0124 - NaN


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * (20 * 1024 * 1024) + b"[]]",
        b"{" + b'"":{},' * 1_000_000 + b'"":{}}',
        b"[" + b"1," * 2_000_000 + b"1]",
        b"[" + b'"",' * 2_000_000 + b'""]',
        b"[" * 1_000_000,
        b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
        b'["' + b'\\"' * 1_000_000 + b'",' + b"[" * 200 + b"]" * 200 + b"]",
        b'["\\\\",' + b"[" * 200 + b"]" * 200 + b"]",
    ],
    ids=["arrays", "objects", "numbers", "texts", "open", "deep", "deep after quotes", "deep after a backslash"],
)
def test_what_would_become_enormous_is_not_parsed(text: bytes) -> None:
    with pytest.raises(TooLargeError):
        loads(text)


@pytest.mark.parametrize(
    "value",
    [{"text": "[" * 3_000_000}, {"text": ',{"' * 2_000_000}, {"text": '\\"[' * 1_000_000}, [0.5] * 900_000],
    ids=["brackets", "structure", "escapes", "numbers"],
)
def test_long_texts_and_lists_are_no_structure(value: object) -> None:
    assert loads(json.dumps(value)) == value


def test_another_encoding_than_utf_8_is_refused() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(ValueError, match="utf-8"):
            loads('{"a": "ü"}'.encode(encoding))
    assert loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_value_is_too_deep_where_its_text_is() -> None:
    value: list[object] = []
    for _ in range(json_depth.LIMIT - 1):
        value = [value]
    assert not json_depth.is_too_deep(value)
    assert loads(json.dumps(value)) == value
    assert json_depth.is_too_deep([value])
    with pytest.raises(TooLargeError):
        loads(json.dumps([value]))
