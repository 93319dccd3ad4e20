# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which nodes are read from a workflow of each format, and that no input ends in anything but an error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.errors import UsageError
from noslop_driver.workflows.formats import ModelLink, Value, Workflow, parse_workflow

WORKFLOWS = Path(__file__).parents[3] / "support" / "workflows"
HUB = "https://huggingface.co/artist/painter/resolve/main/"
UUID = "6f0c6f1e-1f0a-4f69-9a3d-0c4f6d2b7a11"


def read(name: str) -> Workflow:
    return parse_workflow((WORKFLOWS / f"{name}.json").read_bytes(), name)


def parse(value: object) -> Workflow:
    return parse_workflow(json.dumps(value).encode(), "it")


def class_names(workflow: Workflow) -> list[str]:
    return [node.class_name for node in workflow.nodes]


def test_nodes_of_the_editor_and_those_that_are_switched_off_do_not_count() -> None:
    workflow = read("editor")
    assert class_names(workflow) == ["CheckpointLoaderSimple", "LoraLoader", "DualCLIPLoader", "SaveImage"]
    assert workflow.switched_off == 1


def test_node_has_its_pack_and_the_models_of_its_list_that_are_chosen() -> None:
    node = read("editor").nodes[0]
    assert node.links == (ModelLink("painter.safetensors", f"{HUB}painter.safetensors", "checkpoints"),)
    assert (node.pack, node.pack_version) == ("comfy-core", "0.3.40")


def test_nodes_of_subgraphs_count_once_and_only_where_they_are_used() -> None:
    workflow = read("subgraph")
    assert sorted(class_names(workflow)) == ["PreviewImage", "UNETLoader", "VAELoader"]
    # One of the two uses is muted; it has the outer subgraph in itself, and that the inner one.
    assert workflow.switched_off == 2


def test_inputs_of_the_api_format_have_names() -> None:
    workflow = read("api")
    assert workflow.nodes[0].values == (Value("painter.safetensors", "ckpt_name"),)
    assert parse({"prompt": json.loads((WORKFLOWS / "api.json").read_bytes())}) == workflow


def test_packs_are_read_as_registry_names_or_repositories_and_groups_have_their_nodes() -> None:
    assert {node.class_name: (node.pack, node.pack_version) for node in read("custom_nodes").nodes} == {
        "Painter Loader //Studio": ("painter-pack", "1.2.0"),
        "BrushStroke": ("artist/brushes", "0123456789012345678901234567890123456789"),
        "Nameless": ("", ""),
        "NodeOfTomorrow": ("comfy-core", "99.0.0"),
        "MixColours": ("painter-pack", "1.2.0"),
    }


def test_widgets_may_be_a_mapping_and_a_checksum_counts_only_where_it_is_a_sha256() -> None:
    models = [
        {"name": name, "url": "u", "directory": "vae", "hash": "AB", "hash_type": kind}
        for name, kind in (("a.pt", "SHA256"), ("b.pt", "CRC32"))
    ]
    node = {"type": "Loader", "properties": {"models": models}, "widgets_values": {"one": "a.pt", "two": "b.pt"}}
    (parsed,) = parse({"nodes": [node]}).nodes
    assert [(link.name, link.sha256) for link in parsed.links] == [("a.pt", "ab"), ("b.pt", "")]


def test_hostile_workflow_is_read_without_its_broken_parts() -> None:
    workflow = read("hostile")
    assert class_names(workflow) == ["LoraLoader"] * 12 + ["{{ 7 * 7 }}", "\x1b]0;title\x07Escape"]
    assert workflow.nodes[10].values == (Value("half?.safetensors"),)


def test_subgraphs_that_contain_each_other_many_times_are_read_once() -> None:
    names = [f"{number:08x}-0000-0000-0000-000000000000" for number in range(100)]
    subgraphs = [
        {"id": name, "nodes": [{"type": inner} for inner in [following] * 50] + [{"type": "Paint"}]}
        for name, following in zip(names, [*names[1:], names[0]], strict=True)
    ]
    workflow = parse({"nodes": [{"type": names[0]}], "definitions": {"subgraphs": subgraphs}})
    assert class_names(workflow) == ["Paint"] * 100


def test_subgraph_without_a_definition_has_no_nodes() -> None:
    assert parse({"nodes": [{"type": UUID}]}) == Workflow(())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"<html>", "is no JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"nodes":' * 200_000, "nested too deeply"),
        (b"[]", "no nodes of a workflow"),
        (b"{}", "no nodes of a workflow"),
        (b'{"1": {"class_type": 7}}', "no nodes of a workflow"),
        (b'"text"', "no nodes of a workflow"),
    ],
)
def test_what_is_no_workflow_is_a_usage_error(content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_workflow(content, "it")


_KEYS = st.sampled_from(
    ["nodes", "type", "mode", "properties", "models", "widgets_values", "definitions", "subgraphs", "id", "extra",
     "groupNodes", "class_type", "inputs", "name", "url", "cnr_id", "prompt", "workflow"]
)  # fmt: skip
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    with contextlib.suppress(UsageError):
        assert parse(value).switched_off >= 0
