# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Feed damaged files, texts and graphs to everything that reads what others wrote.

Each target is a function of a random number generator: it damages a sample of its corpus and reads it. It fails with an
AssertionError, or with any exception that its caller does not expect. An example is repeated by its seed:

    python -m tests.backend.fuzz --seconds 3600          (make fuzz SECONDS=3600)
    python -m tests.backend.fuzz --target tar --seed 17  one example
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

from noslop_backend.archive.tar import ArchiveError, TarReader, TarWriter
from noslop_backend.comfyui import history
from noslop_backend.media import probe, tags
from noslop_backend.media.probe import Limits
from noslop_backend.media.tags import a1111, exif, fields, gif, png, safetensors, sampling
from noslop_backend.media.tags.limits import LIMIT_BYTES, Budget, BudgetExceededError, Texts
from noslop_backend.media.types import sniff

from tests.backend.samples import SAMPLES
from tests.backend.test_fields import A1111, PROMPT, SWARM, WORKFLOW

#: Numbers that headers are damaged with, in both orders of bytes.
_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**70,
    1e400,
    float("nan"),
    "",
    "\0",
    "\ud800",
    [],
    {},
    ["1", 0],
    "x" * 5000,
)
#: Seconds that an example may take when fuzzing at length; a child has its own budget beside.
_EXAMPLE_S = 20.0
_LIMITS = Limits(cpu_s=10, budget_s=5.0, wall_s=600.0)
Random = random.Random


def damaged(content: bytes, chance: Random) -> bytes:
    """Return a content with a few bytes replaced, numbers written over, and parts cut, doubled or moved."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 4, 16, 256)))
        match chance.randrange(6):
            case 0:
                data[at:end] = chance.randbytes(end - at)
            case 1:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(_NUMBERS) % 256**size
                data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * chance.choice((1, 2, 50))
            case 4:
                del data[at:]
            case _ if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def damaged_json(value: Any, chance: Random) -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON value with a few of its parts replaced, removed, doubled or connected with others."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 2, 4, 8))):
        places: list[tuple[Any, Any]] = []
        _collect(value, places)
        if not places:
            return value
        holder, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                holder[key] = copy.deepcopy(chance.choice(_VALUES))
            case 1:
                del holder[key]
            case 2:
                other, other_key = chance.choice(places)
                holder[key] = copy.deepcopy(other.get(other_key) if isinstance(other, dict) else other[other_key])
            case _:
                holder[key] = [str(chance.randrange(10)), chance.randrange(3)]
    return value


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:  # noqa: ANN401 - any JSON
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        places.append((value, key))
        _collect(part, places)


@cache
def _files() -> tuple[tuple[bytes, str], ...]:
    texts = {"prompt": json.dumps(PROMPT)}
    contents = [sample.make(texts) for sample in SAMPLES]
    kinds = [sniff(content[:4096]) for content in contents]
    return tuple(
        (content, kind.content_type if kind else "application/octet-stream")
        for content, kind in zip(contents, kinds, strict=True)
    )


def read_in_child(chance: Random) -> None:
    """Read texts and size of a media file, or decode it, in the child."""
    content, content_type = chance.choice(_files())
    with tempfile.TemporaryFile() as stream:
        stream.write(damaged(content, chance))
        stream.flush()
        if chance.randrange(3) == 0:
            facts = probe.facts(stream, content_type, _LIMITS)
            assert isinstance(facts["decoded"], bool)
            return
        inspection = probe.inspect(stream, content_type, _LIMITS)
    assert "did not end" not in inspection.problem
    assert sum(len(text.encode()) for text in inspection.texts.values()) <= LIMIT_BYTES
    json.dumps({key: tags.parse(text) for key, text in inspection.texts.items()}).encode()


def read_here(chance: Random) -> None:
    """Read PNG chunks, GIF blocks and safetensors headers with the readers themselves."""
    content, content_type = chance.choice([pair for pair in _files() if pair[1] in _READERS])
    stream = io.BytesIO(damaged(content, chance))
    texts = Texts()
    with contextlib.suppress(BudgetExceededError, ValueError):
        _READERS[content_type](stream, texts)
    json.dumps(texts.kept).encode()
    if content_type == "image/png":
        png.plain_size(stream)


_READERS: dict[str, Callable[[io.BytesIO, Texts], object]] = {
    "image/png": lambda stream, texts: png.read(stream, texts, Budget(_EXAMPLE_S)),
    "image/gif": lambda stream, texts: gif.read(stream, texts, Budget(_EXAMPLE_S)),
    "application/octet-stream": safetensors.read,
}


def read_texts(chance: Random) -> None:
    """Read parameters of A1111, and comments of EXIF."""
    content = damaged(chance.choice((A1111, json.dumps(SWARM))).encode(), chance)
    parameters = a1111.parse(content.decode("utf-8", "replace"))
    assert parameters is None or isinstance(parameters.prompt, str)
    text = exif.user_comment(chance.choice((b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"")) + content)
    fields.from_texts({"parameters": text, "UserComment": text})


def read_graph(chance: Random) -> None:
    """Read fields of prompts, workflows and the texts of other programs, and parameters of a graph."""
    prompt, workflow, swarm = (damaged_json(value, chance) for value in (PROMPT, WORKFLOW, SWARM))
    texts = {"prompt": prompt, "workflow": workflow, "parameters": swarm, "invokeai_metadata": swarm}
    chosen = {key: json.dumps(texts[key]) for key in chance.sample(sorted(texts), 2)}
    made = fields.from_texts(chosen)
    assert len(made.prompt) <= fields.TEXT_LIMIT
    if isinstance(prompt, dict):
        for node_id in [*map(str, prompt), "nowhere"]:
            values = sampling.parameters(prompt, sampling.upstream(prompt, node_id))
            json.dumps(values, allow_nan=False).encode()


_ENTRY = {
    "p": {
        "prompt": [1, "p", PROMPT, {"extra_pnginfo": {"workflow": WORKFLOW}}, ["9"]],
        "outputs": {
            "9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}], "animated": [True]},
            "8": {"text": ["words"], "result": ["3d/a.glb", {}], "gifs": [{"filename": "a.mp4", "type": "temp"}]},
        },
        "status": {"status_str": "success", "completed": True, "messages": [["execution_start", {"a": 1}]]},
    }
}


def read_history(chance: Random) -> None:
    """Read an answer to /history and /queue."""
    for read in (history.parse, history.is_queued):
        try:
            read("p", damaged_json(_ENTRY, chance))
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either is right: it is read, or refused with a reason


@cache
def _archive() -> bytes:
    stream = io.BytesIO()
    writer = TarWriter(stream)
    for name, body in (("manifest.jsonl", b"{}\n" * 100), ("generated/images/a.png", b"x" * 1500), ("empty", b"")):
        writer.add(name, len(body), iter([body]))
    writer.end()
    return stream.getvalue()


def read_tar(chance: Random) -> None:
    """Read an archive to its end, or to what is refused."""
    content = damaged(_archive(), chance)
    reader = TarReader(io.BytesIO(content))
    read_bytes = 0
    try:
        while reader.next():
            assert not reader.name.startswith("/")
            assert ".." not in reader.name.split("/")
            read_bytes += sum(map(len, reader.pieces()))
    except ArchiveError as error:
        assert error.message  # noqa: PT017 - as above
    assert read_bytes <= len(content)


TARGETS: dict[str, Callable[[Random], None]] = {
    "child": read_in_child,
    "readers": read_here,
    "texts": read_texts,
    "graph": read_graph,
    "history": read_history,
    "tar": read_tar,
}


def run(name: str, seed: int) -> None:
    """Read one example of a target."""
    TARGETS[name](random.Random(f"{name} {seed}"))  # noqa: S311 - an example is to be repeated


def main() -> int:
    """Fuzz each target for some time, and print the seeds that fail. Return 1 where any did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--seed", type=int, help="one example only")
    given = parser.parse_args()
    failed = 0
    for name in given.target or TARGETS:
        if given.seed is not None:
            run(name, given.seed)
            continue
        first = seed = time.time_ns()
        until, slowest = time.monotonic() + given.seconds, 0.0
        while (began := time.monotonic()) < until:
            try:
                run(name, seed)
            except Exception:
                failed += 1
                traceback.print_exc()
                print(f"{name}: repeat it with --target {name} --seed {seed}", flush=True)
            took = time.monotonic() - began
            if took > _EXAMPLE_S:
                failed += 1
                print(f"{name}: {took:.1f} s, with --target {name} --seed {seed}", flush=True)
            slowest = max(slowest, took)
            seed += 1
        print(
            f"{name}: {seed - first} examples, the slowest took {slowest:.2f} s, {failed} failures so far", flush=True
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
