# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a search of the hub and of the marketplace returns, with a stand-in for both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from noslop_driver.errors import DriverError
from noslop_driver.hubs.metadata import Hubs
from noslop_driver.hubs.search import FILES_OF_A_REPOSITORY, Hit, matches, search_hub, search_market
from tests.support.model_server import ModelServer, serving_models

SHA256 = "b" * 64


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving_models() as server:
        yield server


def make_hubs(server: ModelServer) -> Hubs:
    origin = server.url("")[:-1]
    return Hubs(origin, origin, {origin: "secret"})


def add_repository(server: ModelServer, name: str, *files: str, **about: object) -> dict[str, object]:
    """Serve what the hub says of a repository, and return its entry in the answer to a search."""
    entry: dict[str, object] = {"id": name, "siblings": [{"rfilename": file} for file in files]}
    large = [{"rfilename": file, "size": 7, "lfs": {"sha256": SHA256}} for file in files]
    server.add_json(f"api/models/{name}?blobs=true", {"id": name, "siblings": large, **about})
    return entry


def test_hub_returns_files_of_models_with_size_checksum_licence_and_gate(server: ModelServer) -> None:
    entry = add_repository(
        server, "artist/painter", "README.md", "fp16/painter.safetensors", cardData={"license": "mit"}, gated="auto"
    )
    server.add_json("api/models?search=oil+painter&limit=10&full=true", [entry])
    hits = search_hub(["oil", "painter"], 10, make_hubs(server))
    source = "hub:artist/painter/fp16/painter.safetensors"
    assert hits == [Hit("painter.safetensors", source, "artist/painter", "", 7, SHA256, "mit", True)]
    assert {headers["authorization"] for _, headers in server.requests} == {"Bearer secret"}


def test_repository_with_many_files_shows_those_that_are_searched_for_first(server: ModelServer) -> None:
    files = [f"part{number}.safetensors" for number in range(20)]
    entries = [
        add_repository(server, "artist/painter", *files, "fp8/turbo.safetensors"),
        add_repository(server, "artist/text", "README.md"),
        add_repository(server, "artist/other", "turbo.gguf"),
    ]
    server.add_json("api/models?search=turbo&limit=6&full=true", entries)
    hits = search_hub(["turbo"], 6, make_hubs(server))
    assert [hit.name for hit in hits] == [
        "turbo.safetensors", *files[: FILES_OF_A_REPOSITORY - 1], "turbo.gguf",
    ]  # fmt: skip
    assert not any("artist/text" in path for path, _ in server.requests)


def test_marketplace_returns_the_newest_version(server: ModelServer) -> None:
    versions = [
        {
            "id": 2514310,
            "name": "v2",
            "availability": "EarlyAccess",
            "files": [
                {"name": "preview.zip"},
                {"name": "oil.safetensors", "primary": True, "sizeKB": 1.5, "hashes": {"SHA256": SHA256.upper()}},
            ],
        },
        {"id": 1, "files": [{"name": "old.safetensors"}]},
    ]
    items = [{"name": "Oil", "type": "LORA", "modelVersions": versions}, {"name": "Empty", "modelVersions": []}, 7]
    server.add_json("api/v1/models?query=oil&limit=10", {"items": items})
    assert search_market(["oil"], 10, make_hubs(server)) == [
        Hit("oil.safetensors", "civitai:2514310", "Oil v2", "loras", 1536, SHA256, "", True)
    ]


@pytest.mark.parametrize("size", ["NaN", "Infinity", "1e308", f"1{'0' * 400}", "-1", "true", "null", '"7"'])
def test_size_that_is_none_is_unknown(server: ModelServer, size: str) -> None:
    file = f'{{"name": "oil.pt", "sizeKB": {size}}}'
    items = f'{{"items": [{{"modelVersions": [{{"id": 7, "files": [{file}]}}]}}]}}'
    server.add("api/v1/models?query=oil&limit=10", items.encode())
    assert search_market(["oil"], 10, make_hubs(server)) == [Hit("oil.pt", "civitai:7")]


def test_repository_with_a_name_that_leads_elsewhere_is_left_out(server: ModelServer) -> None:
    entries = [{"id": name, "siblings": [{"rfilename": "a.pt"}]} for name in ("a/b/../c", "a?b/c", "half\ud800/c", 7)]
    server.add_json("api/models?search=oil&limit=10&full=true", entries)
    assert search_hub(["oil"], 10, make_hubs(server)) == []
    assert len(server.requests) == 1


def test_token_of_one_server_is_not_sent_to_another(server: ModelServer) -> None:
    hubs = Hubs(server.url("")[:-1], "http://localhost:1", {"http://localhost:1": "secret"})
    server.add_json("api/models?search=oil&limit=10&full=true", [])
    assert search_hub(["oil"], 10, hubs) == []
    assert all("authorization" not in headers for _, headers in server.requests)


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'"text"', b"[" * 100_000])
def test_answer_of_another_form_is_an_error_that_names_the_server(server: ModelServer, answer: bytes) -> None:
    server.add("api/models?search=oil&limit=10&full=true", answer)
    server.add("api/v1/models?query=oil&limit=10", answer)
    for search in (search_hub, search_market):
        with pytest.raises(DriverError, match=r"127\.0\.0\.1"):
            search(["oil"], 10, make_hubs(server))


def test_every_word_must_be_in_one_of_the_texts() -> None:
    assert matches(["Flux", "vae"], "flux1-dev", "VAE of it")
    assert not matches(["flux", "lora"], "flux1-dev", "VAE of it")
