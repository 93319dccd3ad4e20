# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which entries of ``noslop_models`` are accepted, and what is said about the others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.models import Model, parse_models

URL: dict[str, Any] = {"folder": "loras", "url": "https://models.lan/files/a%20b.safetensors"}
HUB: dict[str, Any] = {
    "folder": "checkpoints",
    "hub": {"repo": "artist/painter", "file": "fp16/painter v1.safetensors", "commit": "a" * 40},
}
OLLAMA: dict[str, Any] = {"ollama": "llama3.2:1b"}


def test_accepted_entries_keep_their_values() -> None:
    more = {"sha256": "b" * 64, "size": 5, "licence": "mit", "gated": True, "extra": {"note": 1}}
    civitai = {"folder": "loras/sdxl", "file": "style.safetensors", "civitai": 2514310}
    assert parse_models([URL, {**HUB, **more}, civitai, {"ollama": "llama3.2"}], hub="https://hub.lan") == [
        Model("loras/a b.safetensors", URL["url"]),
        Model(
            "checkpoints/painter v1.safetensors",
            f"https://hub.lan/artist/painter/resolve/{'a' * 40}/fp16/painter%20v1.safetensors",
            sha256="b" * 64,
            size=5,
            licence="mit",
            gated=True,
            extra={"note": 1},
        ),
        Model("loras/sdxl/style.safetensors", "https://civitai.com/api/download/models/2514310"),
        Model(ollama="llama3.2:latest"),
    ]


@pytest.mark.parametrize(
    ("warm", "hosts"),
    [(False, []), (True, ["painter", "both"]), (["both", "disk"], ["both", "disk"]), ([], [])],
)
def test_model_is_warm_on_the_named_hosts_or_on_all_that_run_its_service(warm: object, hosts: list[str]) -> None:
    services = {"painter": ["comfyui"], "writer": ["ollama"], "both": ["comfyui", "ollama"], "disk": []}
    (model,) = parse_models([{**URL, "warm": warm}])
    assert [host for host, own in services.items() if model.is_warm_on(host, own)] == hosts


def test_model_of_a_host_has_no_address_and_needs_its_checksum() -> None:
    local = {"folder": "loras", "file": "a.safetensors", "local": True, "sha256": "b" * 64}
    assert parse_models([local]) == [Model("loras/a.safetensors", sha256="b" * 64)]
    for wrong, message in (
        ({**local, "sha256": ""}, "local needs sha256"),
        ({**local, "url": URL["url"]}, "It has url, local."),
        ({**local, "local": False}, "It has none."),
        ({**local, "local": "here"}, "local"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_models([wrong])


@pytest.mark.parametrize("name", ["llama3.2:1b", "hf.co/user/repo:Q4_K_M", "10.0.0.1:5000/library/m:latest", "a/b:c"])
def test_names_of_ollama_are_accepted_as_they_are(name: str) -> None:
    assert parse_models([{"ollama": name}])[0].ollama == name


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("painter", "is no list"),
        (["painter"], "entry 1 is 'painter'"),
        ([{**URL, "licens": "mit"}], "has the key licens"),
        ([URL, {**URL, "file": "A B.safetensors"}], "two entries are for loras/a b.safetensors"),
        ([OLLAMA, OLLAMA], "two entries are for llama3.2:1b"),
        ([{"folder": "loras"}], "It has none"),
        ([{**URL, **HUB}], "It has url, hub"),
        *(
            ([{**URL, "url": address}], part)
            for address, part in {
                "ftp://models.lan/a": "is no address",
                "https://models.lan/a b": "white space",
                "https://me:secret@models.lan/a": "name or password",
                "https://models.lan/a?token=secret": "has a token in it",
                "https://models.lan/a?x=1&API_KEY=secret": "has a token in it",
            }.items()
        ),
        ([{"folder": "loras", "url": "https://models.lan/"}], "the address has none"),
        ([{"url": "https://models.lan/a"}], "write the folder"),
        *(
            ([{**URL, **place}], "is no path below the models")
            for place in (
                {"folder": ".."},
                {"folder": "loras/../../x"},
                {"folder": "loras//x"},
                {"folder": ".noslop-fetch"},
                {"file": "../x"},
                {"file": ".hidden"},
                {"file": "a\nb"},
                {"file": "a\\b"},
                {"file": "x" * 256},
            )
        ),
        ([{**HUB, "hub": {**HUB["hub"], "commit": "main"}}], "Write all 40 hexadecimal digits"),
        ([{**HUB, "hub": {**HUB["hub"], "repo": "painter"}}], "Write it like owner/name"),
        ([{**HUB, "hub": {"repo": "a/b"}}], "hub needs repo, file, commit"),
        ([{**HUB, "hub": {**HUB["hub"], "file": "../x"}}], "is no path of a file"),
        ([{"folder": "loras", "file": "x", "civitai": "latest"}], "Write the number"),
        ([{**URL, "sha256": "B" * 64}], "Write all 64 hexadecimal digits"),
        *(([{**URL, "size": size}], "Write a number of bytes") for size in ("5", -1, 1.5, True)),
        ([{**URL, "gated": "yes"}], "Write true or false"),
        *(([{**URL, "warm": warm}], "Write true, or a list of names of hosts") for warm in ("yes", 1, None, [""])),
        ([{**URL, "keep": True}], "has the key keep"),
        ([{**URL, "extra": ["x"]}], "Write a dictionary"),
        ([{"ollama": "--help"}], "is no name of a model"),
        ([{"ollama": "a b"}], "is no name of a model"),
        ([{**OLLAMA, "sha256": "b" * 64}], "sha256 is of a file of ComfyUI's"),
    ],
)
def test_other_entries_are_refused_with_what_to_write(value: object, part: str) -> None:
    with pytest.raises(ValueError, match="noslop_models") as error:
        parse_models(value)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("value", "observed"),
    [
        ([URL, OLLAMA], "every model has a source"),
        ([{"folder": "loras"}], "It has none"),
        ([{**URL, "warm": ["painter", "disk"]}, {**OLLAMA, "warm": True}], "every model has a source"),
        (
            [{**OLLAMA, "warm": ["painter"]}],
            "llama3.2:1b is warm on painter, which is not in the group ollama and is no storage server",
        ),
    ],
)
def test_preflight_judges_the_catalogue(value: object, observed: str) -> None:
    checks = Checks("studio")
    variable_rules.judge_models(checks, value, {"comfyui": ["painter"], "ollama": ["writer"], "backend": []}, ["disk"])
    assert observed in checks.list[0]["seen"]
    assert checks.list[0]["ok"] == (observed == "every model has a source")
