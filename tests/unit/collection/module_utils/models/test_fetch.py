# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch models from a server that misbehaves: a right file or a clear error, never a wrong file."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import fetch, part_file
from ansible_collections.noslop.studio.plugins.module_utils.models.fetch import Fetched, FetchError, Transfer, Wanted

from tests.support.model_server import ModelServer, make_safetensors, serving_models

CONTENT = make_safetensors(600_000, "model")
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "loras/model.safetensors"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving_models() as server:
        yield server


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


def run(server: ModelServer, share: Path, *, transfer: Transfer | None = None, **changes: object) -> Fetched:
    """Fetch the model that the server has as "model"."""
    wanted = replace(Wanted(NAME, server.url("model"), SHA256), **changes)  # type: ignore[arg-type]
    return fetch.fetch(wanted, str(share), transfer or Transfer(wait=lambda _: None))


def list_files(share: Path) -> list[str]:
    return sorted(str(path.relative_to(share)) for path in share.rglob("*") if path.is_file())


def test_model_is_fetched_once_and_nothing_else_is_left(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT)
    assert run(server, share) == Fetched(NAME, len(CONTENT), SHA256, len(CONTENT), is_new=True)
    assert run(server, share) == Fetched(NAME, len(CONTENT), SHA256, 0)
    assert (share / NAME).read_bytes() == CONTENT
    assert list_files(share) == [NAME]
    assert server.sent["model"] == len(CONTENT)


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_cut_twenty_times_costs_no_byte_twice(server: ModelServer, share: Path, sha256: str) -> None:
    server.add("model", CONTENT, cuts=[1, 7, 8, 9, 1023, *(20_001 + 977 * number for number in range(15))])
    assert run(server, share, sha256=sha256).sha256 == SHA256
    assert (share / NAME).read_bytes() == CONTENT
    assert server.sent["model"] <= len(CONTENT) * 1.05


def test_earlier_run_is_continued(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, cuts=[300_000], statuses=[])
    transfer = Transfer(wait=lambda _: None, report=lambda _path, received, _size: stop_at(received, 200_000))
    with pytest.raises(KeyboardInterrupt):
        run(server, share, transfer=transfer)
    assert list_files(share) == [f"{part_file.DIRECTORY}/{part_file.make_key(NAME)}.{end}" for end in ("json", "part")]
    before = server.sent["model"]
    assert run(server, share).received < len(CONTENT) - 190_000
    assert server.sent["model"] - before < len(CONTENT) - 190_000
    assert (share / NAME).read_bytes() == CONTENT


def stop_at(received: int, limit: int) -> None:
    if received > limit:
        raise KeyboardInterrupt


def test_bytes_that_a_power_failure_may_have_lost_are_fetched_again(
    server: ModelServer, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("model", CONTENT)
    monkeypatch.setattr(part_file, "SYNC_BYTES", 100_000)
    monkeypatch.setattr(fetch, "BLOCK_BYTES", 9000)
    transfer = Transfer(report=lambda _path, received, _size: stop_at(received, 550_000))
    with pytest.raises(KeyboardInterrupt):
        run(server, share, transfer=transfer)
    part = next((share / part_file.DIRECTORY).glob("*.part"))
    # What was not synchronized came back as zeros.
    with part.open("r+b") as stream:
        stream.seek(-10, os.SEEK_END)
        stream.write(bytes(10))
    monkeypatch.setattr(part_file, "read_boot_id", lambda: "another start")
    run(server, share, sha256="")
    assert (share / NAME).read_bytes() == CONTENT


def test_model_without_an_address_is_compared_only(share: Path) -> None:
    wanted = Wanted("loras/adopted.safetensors", "", "a" * 64)
    with pytest.raises(fetch.FetchError, match="it came from a host"):
        fetch.fetch(wanted, str(share), Transfer())
    assert list(share.iterdir()) == []
    (share / "loras").mkdir()
    (share / wanted.path).write_bytes(b"x")
    with pytest.raises(fetch.FetchError, match="is another file"):
        fetch.fetch(wanted, str(share), Transfer())


def test_server_without_ranges_gives_a_right_file(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, cuts=[100_000, 200_000], ranges=False)
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


def test_server_that_cuts_every_answer_and_refuses_ranges_is_given_up(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, cuts=[100_000] * 100, ranges=False)
    with pytest.raises(FetchError, match="the connection ended early"):
        run(server, share)
    assert not (share / NAME).exists()
    assert len(server.requests) <= fetch.ATTEMPTS + 1


@pytest.mark.parametrize("etag", [True, False])
def test_file_that_changes_between_two_answers_is_fetched_whole(server: ModelServer, share: Path, etag: bool) -> None:
    server.add("model", make_safetensors(600_000, "before"), CONTENT, cuts=[300_000], etag=etag)
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


def test_changed_file_without_a_checksum_is_never_mixed(server: ModelServer, share: Path) -> None:
    server.add("model", make_safetensors(600_000, "before"), CONTENT, cuts=[300_000], etag=False)
    run(server, share, sha256="")
    assert (share / NAME).read_bytes() == CONTENT


def test_shorter_file_than_what_is_here_is_fetched_anew(server: ModelServer, share: Path) -> None:
    server.add("model", make_safetensors(900_000, "before"), CONTENT, cuts=[700_000], etag=False)
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


def test_range_that_was_not_asked_for_is_not_used(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, cuts=[100_000], wrong_range=True)
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 503, 500])
def test_busy_server_is_waited_for(server: ModelServer, share: Path, status: int) -> None:
    server.add("model", CONTENT, statuses=[status, status], status_headers={"Retry-After": "7"})
    waits: list[float] = []
    run(server, share, transfer=Transfer(wait=waits.append))
    assert waits == [7, 7]


def test_wait_of_hours_is_an_error(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, statuses=[429], status_headers={"Retry-After": "7200"})
    with pytest.raises(FetchError, match="429"):
        run(server, share)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "wants a token"), (403, "accept its licence"), (404, "is not there"), (410, "not there any more")],
)
def test_refusal_is_explained_and_not_repeated(server: ModelServer, share: Path, status: int, message: str) -> None:
    server.add("model", CONTENT, statuses=[status] * 9)
    with pytest.raises(FetchError, match=message):
        run(server, share)
    assert len(server.requests) == 1
    assert not (share / NAME).exists()


def test_token_goes_to_its_server_and_to_no_other(server: ModelServer, share: Path) -> None:
    server.add("model", token="secret", redirect=server.url("elsewhere", "localhost"))  # noqa: S106
    server.add("elsewhere", CONTENT)
    transfer = Transfer(tokens={server.url("").rstrip("/"): "secret"})
    run(server, share, transfer=transfer)
    assert (share / NAME).read_bytes() == CONTENT
    assert ["authorization" in headers for _, headers in server.requests] == [True, False]


def test_endless_redirects_are_an_error(server: ModelServer, share: Path) -> None:
    server.add("model", redirect=server.url("model"))
    with pytest.raises(FetchError, match="redirects more than"):
        run(server, share)


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>" + b" " * 5000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAGE, "a web page"),
        (PAGE[:60], "a web page"),
        (b'{"error": "Invalid username or password."}', "an answer in JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        (b"", "no safetensors file"),
        (CONTENT[:-1], "of which 600"),
        (CONTENT + b"!", "of which 600"),
        (struct.pack("<Q", 1 << 40) + CONTENT[8:], "no safetensors file"),
        (struct.pack("<Q", 30) + CONTENT[8:], "a damaged header"),
    ],
)
def test_what_is_no_model_is_not_kept(server: ModelServer, share: Path, content: bytes, message: str) -> None:
    server.add("model", content)
    with pytest.raises(FetchError, match=message):
        run(server, share, sha256="")
    assert list_files(share) == []


def test_wrong_byte_is_not_kept(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT[:-5] + b"x" + CONTENT[-4:])
    with pytest.raises(FetchError, match="its SHA-256 is"):
        run(server, share)
    assert list_files(share) == []
    assert len(server.requests) == 1


def test_wrong_byte_before_a_cut_is_fetched_again(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT[:9000] + b"x" + CONTENT[9001:], CONTENT, cuts=[300_000], etag=False)
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("announced", [len(CONTENT) - 1000, len(CONTENT) + 1000])
def test_wrong_length_is_never_a_model(server: ModelServer, share: Path, announced: int) -> None:
    server.add("model", CONTENT, announced=announced)
    with pytest.raises(FetchError):
        run(server, share, sha256="")
    assert not (share / NAME).exists()


def test_size_of_the_catalogue_is_compared_before_the_first_byte(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT)
    with pytest.raises(FetchError, match="the catalogue says 5"):
        run(server, share, size=5)
    assert list_files(share) == [] or not (share / NAME).exists()


def test_answer_in_pieces_without_a_length_is_fetched(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, chunked=True, cuts=[300_000])
    run(server, share)
    assert (share / NAME).read_bytes() == CONTENT


def test_encoded_answer_is_not_kept(server: ModelServer, share: Path) -> None:
    server.add("model", CONTENT, encoding="gzip")
    with pytest.raises(FetchError, match="encoding gzip"):
        run(server, share)
    assert not (share / NAME).exists()


def test_another_file_of_that_name_is_left_alone(server: ModelServer, share: Path) -> None:
    (share / "loras").mkdir()
    (share / NAME).write_bytes(b"of a person")
    server.add("model", CONTENT)
    with pytest.raises(FetchError, match="is another file"):
        run(server, share)
    assert (share / NAME).read_bytes() == b"of a person"
    assert server.requests == []


def test_server_that_is_away_is_an_error(share: Path) -> None:
    with serving_models() as server:
        pass
    with pytest.raises(FetchError, match="cannot be fetched"):
        run(server, share)
