# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of the search: split out of what describes a file, and out of what a person asks for, by the same rules.

Pure. Both databases get words that are split here already, so that they agree about what a word is, and so that no
text of a user reaches SQLite's or PostgreSQL's query language: a word holds letters, digits and combining marks only.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from pydantic import JsonValue

from noslop_backend.core.errors import InvalidRequestError

#: A file is found by its first so many words; a longer word is cut, in files and in questions.
WORDS_LIMIT = 4096
WORD_LIMIT = 64
#: So many characters of a text are looked at, and so many values of parameters.
TEXT_LIMIT = 65_536
_VALUES_LIMIT = 2000
QUERY_LIMIT = 1000
_TERMS_LIMIT = 32
#: So many seeds, models and tags of one file can be filtered by.
_MARKS_LIMIT = 64
_NUMBER_LIMIT = 2**64
_SEED_KEYS = frozenset({"seed", "seeds", "noise_seed"})
_MODEL_KEYS = frozenset({"model", "models", "checkpoint", "ckpt_name", "unet_name", "lora", "loras"})
#: Ideographs and kana stand without spaces between words: each is a word, and several of them are a phrase.
_SINGLE = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"


def _marks_class() -> str:
    """Return the combining marks as the inside of a character class: Python's own classes leave them out."""
    points = [point for point in range(0x300, sys.maxunicode) if unicodedata.category(chr(point))[0] == "M"]
    ranges: list[list[int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


_WORD = re.compile(rf"[{_SINGLE}]|(?:(?![{_SINGLE}])[^\W_]|[{_marks_class()}])+")
_TERM = re.compile(r'"(?P<phrase>[^"]*)"(?P<after>\S?)|(?P<plain>[^\s"]+)(?P<quote>"?)')


@dataclass(frozen=True)
class Term:
    """Words that stand one behind the other. With `prefix` the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True)
class Entry:
    """What a file is found by: words of its texts, and marks, which filters compare as a whole."""

    words: tuple[str, ...]
    marks: tuple[str, ...]


def split(text: str) -> Iterator[str]:
    """Split a text into words, without case and without differences that only the encoding makes (NFKC)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[:TEXT_LIMIT]).casefold())
    for match in _WORD.finditer(folded):
        yield match.group()[:WORD_LIMIT]


def parse(query: str) -> list[Term]:
    """Read what a person asks for: words that must all be there, `word*`, and "phrases".

    Raises:
        InvalidRequestError: a quotation mark or asterisk stands where it has no meaning, or nothing is left to ask for.
    """
    if len(query) > QUERY_LIMIT:
        raise InvalidRequestError(
            f"The search has {len(query)} characters, at most {QUERY_LIMIT} are allowed. Ask for fewer words."
        )
    terms = []
    for match in _TERM.finditer(query):
        if match["phrase"] is not None:
            if match["after"]:
                raise _wrong(f"something stands right behind the phrase {match.group()!r}: put a space between them")
            term = Term(tuple(split(match["phrase"])))
        else:
            term = _plain(match["plain"], match["quote"])
        if term.words:
            terms.append(term)
    if query.count('"') % 2:
        raise _wrong('a quotation mark has no second one: write "two words" for a phrase')
    if len(terms) > _TERMS_LIMIT:
        raise _wrong(f"it has {len(terms)} words and phrases, at most {_TERMS_LIMIT} are allowed")
    if query.strip() and not terms:
        raise _wrong("it has no letter and no digit: name a word to look for")
    return terms


def _plain(text: str, quote: str) -> Term:
    if quote:
        raise _wrong(f"a quotation mark stands within {text + quote!r}: put a space in front of a phrase")
    if text[0] == "-" and any(letter.isalpha() for letter in text):
        raise _wrong(f'{text!r} excludes nothing here: leave it away, or write "{text[1:]}" to look for it')
    body = text.removesuffix("*")
    words = tuple(split(body))
    if "*" in body or (body != text and not words):
        raise _wrong(f"the asterisk of {text!r} has no meaning: it stands at the end of a word, as in cat*")
    return Term(words, prefix=body != text)


def _wrong(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"The search cannot be read: {why}.")


def entry(
    *,
    project_id: str,
    kind: str,
    name: str,
    parameters: Mapping[str, JsonValue],
    facts: Mapping[str, JsonValue] | None = None,
    fields: Mapping[str, JsonValue] | None = None,
    tags: Iterable[str] = (),
    rating: int | None = None,
    text: str = "",
) -> Entry:
    """Return what a file is found by.

    Args:
        project_id: its project.
        kind: its kind.
        name: as the user typed it.
        parameters: how it was made. Every text and whole number of them is found, also below `fields`.
        facts: what it is (`media.facts`); its width and height are filtered by.
        fields: how it was made by what it embeds (`media.facts`), and found like parameters.
        tags: labels of the file.
        rating: 0 to 5 stars.
        text: its content, if that is a text to look through.
    """
    listed = list(tags)
    embedded = {key: value for key, value in (fields or {}).items() if key != "unresolved"}
    texts = [name, *listed, *_leaves(parameters), *_leaves(embedded), text]
    words = islice((word for one in texts for word in split(one)), WORDS_LIMIT)
    given = parameters.get("fields")
    described = [parameters, given if isinstance(given, dict) else {}, embedded]
    seeds = [value for each in described for value in _below(each, _SEED_KEYS)]
    models = [value for each in described for value in _below(each, _MODEL_KEYS)]
    marks = [project_mark(project_id), kind_mark(kind)]
    marks += [seed_mark(seed) for seed in seeds[:_MARKS_LIMIT] if _is_whole(seed)]
    marks += [mark for model in models[:_MARKS_LIMIT] if isinstance(model, str) for mark in _model_marks(model)]
    for key, mark in (("width", width_mark), ("height", height_mark)):
        if isinstance(pixels := (facts or {}).get(key), int):
            marks.append(mark(pixels))
    marks += [tag_mark(tag) for tag in listed[:_MARKS_LIMIT]]
    if rating is not None:
        marks.append(rating_mark(rating))
    return Entry(tuple(words), tuple(dict.fromkeys(marks)))


def project_mark(project_id: str) -> str:
    """Return the mark of files of a project."""
    return f"p{_digest(project_id)}"


def kind_mark(kind: str) -> str:
    """Return the mark of files of a kind."""
    return f"k{kind}"


def seed_mark(seed: JsonValue) -> str:
    """Return the mark of files that were made with a seed."""
    return f"s{str(seed).strip().replace('-', 'm')}"


def model_mark(model: str) -> str:
    """Return the mark of files made with a model of this name: a path, a file's name, or that without extension."""
    return f"m{_digest(fold_model(model))}"


def fold_model(model: str) -> str:
    """Return a model's name as it is compared: with slashes as on Linux, and without case."""
    return unicodedata.normalize("NFC", model.replace("\\", "/").strip()).casefold()


def width_mark(pixels: int) -> str:
    """Return the mark of files of this width."""
    return f"w{pixels}"


def height_mark(pixels: int) -> str:
    """Return the mark of files of this height."""
    return f"h{pixels}"


def tag_mark(tag: str) -> str:
    """Return the mark of files that have a tag."""
    return f"t{_digest(unicodedata.normalize('NFC', tag))}"


def rating_mark(rating: int) -> str:
    """Return the mark of files that have just so many stars."""
    return f"r{rating}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _model_marks(model: str) -> list[str]:
    base = model.replace("\\", "/").rpartition("/")[2]
    stem = base.rpartition(".")[0] or base
    return [model_mark(each) for each in (model, base, stem)]


def _is_whole(value: JsonValue) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{1,20}", value.strip()) is not None
    # Python refuses to write numbers of thousands of digits.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _NUMBER_LIMIT


def _below(parameters: Mapping[str, JsonValue], keys: frozenset[str]) -> list[JsonValue]:
    """Return the values of these keys: single ones, lists of them, and the names in lists of objects."""
    values: list[JsonValue] = []
    for key in keys & parameters.keys():
        value = parameters[key]
        for each in value if isinstance(value, list) else [value]:
            values.append(each.get("name") if isinstance(each, dict) else each)
    return values


def _leaves(parameters: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield every text and whole number, in order, without going deeper by recursion."""
    waiting: list[JsonValue] = [dict(parameters)]
    for _ in range(_VALUES_LIMIT):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, str) or _is_whole(value):
            yield str(value)
