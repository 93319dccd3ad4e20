# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a graph says of how a picture was made, and what a history says of a prompt."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.comfyui import graph, history

# The example that ComfyUI starts with, and a second sampler that is not upstream of its image.
GRAPH: graph.Graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["10", 0],
            "negative": ["10", 1],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}},
    "10": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["6", 0], "negative": ["7", 0], "strength": 1.0},
    },
    "20": {"class_type": "KSamplerAdvanced", "inputs": {"noise_seed": 7, "steps": 4, "positive": "plain words"}},
}


def test_what_leads_to_an_image_is_told_and_nothing_else() -> None:
    found = graph.parameters(GRAPH, graph.upstream(GRAPH, "9"))
    assert found["sampling"] == [
        {
            "node": "3",
            "class": "KSampler",
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        }
    ]
    assert found["models"] == [{"node": "4", "input": "ckpt_name", "name": "sd15.safetensors"}]
    assert found["sizes"] == [{"node": "5", "class": "EmptyLatentImage", "width": 512, "height": 768, "batch_size": 1}]
    # Through a node that hands both sides on.
    assert (found["positive"], found["negative"]) == (["a bottle"], ["watermark"])
    assert found["texts"] == ["a bottle", "watermark"]


def test_all_of_a_graph_is_told_of_the_prompt() -> None:
    found = graph.parameters(GRAPH, GRAPH)
    assert [one["node"] for one in found["sampling"]] == ["3", "20"]
    assert found["positive"] == ["plain words", "a bottle"]


def test_circles_and_links_to_nowhere_end() -> None:
    circle: graph.Graph = {
        "a": {"class_type": "X", "inputs": {"positive": ["b", 0], "text": "one"}},
        "b": {"class_type": "Y", "inputs": {"in": ["a", 0], "more": ["gone", 0], "text": "two"}},
    }
    assert graph.upstream(circle, "a") == ["a", "b"]
    assert graph.upstream(circle, "gone") == []
    assert graph.parameters(circle, circle)["positive"] == ["two", "one"]


def test_what_no_database_can_hold_is_left_out() -> None:
    odd = {"1": {"class_type": "K\0S", "inputs": {"seed": 10**400, "cfg": float("inf"), "text": "a\0b\ud800c"}}}
    assert graph.parameters(odd, odd) == {"texts": ["ab?c"]}
    assert graph.node_class(odd, "1") == "KS"


def test_however_much_a_graph_says_it_fits_into_a_row() -> None:
    text = "\U0001f3a8" * 5000
    large: graph.Graph = {
        str(number): {"class_type": "K", "inputs": {"seed": number, "sampler_name": "e", "text": f"{number}{text}"}}
        for number in range(300)
    }
    found = graph.parameters(large, large)
    assert len(json.dumps(found)) < 300_000
    assert len(found["sampling"]) == 100


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3))
def test_no_graph_is_too_odd(given_graph: dict[str, Any]) -> None:
    for node_id in [*given_graph, "nowhere"]:
        found = graph.parameters(given_graph, graph.upstream(given_graph, node_id))
        json.dumps(found, allow_nan=False).encode()


@given(_JSON | st.fixed_dictionaries({"p": _JSON | st.fixed_dictionaries({"prompt": _JSON, "outputs": _JSON})}))
def test_an_answer_is_understood_or_refused(answer: object) -> None:
    for read in (history.parse, history.is_queued):
        try:
            read("p", answer)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either is right, what counts is that nothing else is raised


def entry(outputs: object, **more: object) -> dict[str, Any]:
    return {"p": {"prompt": [1, "p", {"1": {}}, {}, []], "outputs": outputs, **more}}


def item(filename: str, kind: str = "output", subfolder: str = "") -> dict[str, str]:
    return {"filename": filename, "subfolder": subfolder, "type": kind}


def test_files_are_found_under_whatever_name_a_node_has_for_them() -> None:
    shown = {
        "1": {"images": [item("a.png"), item("b.png", "temp")], "animated": [True]},
        "2": {"gifs": [item("c.mp4", subfolder="d")], "text": ["words"], "images": [item("c.mp4", subfolder="d")]},
        "3": {"audio": [item("d.flac"), {"filename": ""}, {"filename": 5}, None], "images": "none"},
        "4": {"images": [item("e.png", "input"), item("f.png [input]"), item("g.png", "custom")]},
        "5": ["no", "outputs"],
    }
    run = history.parse("p", entry(shown))
    assert run is not None
    assert [(one.node_id, one.key, one.filename) for one in run.outputs] == [
        ("1", "images", "a.png"),
        ("2", "gifs", "c.mp4"),
        ("3", "audio", "d.flac"),
    ]
    assert [one.output.filename for one in run.skipped] == ["b.png", "e.png", "f.png [input]", "g.png"]
    assert "preview" in run.skipped[0].why
    assert "another directory" in run.skipped[2].why


def test_how_a_prompt_ended_is_told() -> None:
    error = {"node_type": "KSampler", "exception_type": "RuntimeError", "exception_message": "out of memory\n"}
    endings: list[tuple[object, tuple[str, str]]] = [
        ({"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}, ("success", "")),
        (
            {"status_str": "error", "completed": False, "messages": [["execution_error", error]]},
            ("error", "KSampler: RuntimeError: out of memory"),
        ),
        (
            {"status_str": "error", "completed": False, "messages": [["execution_interrupted", {}]]},
            ("interrupted", ""),
        ),
        (None, ("unknown", "")),
    ]
    for status, expected in endings:
        run = history.parse("p", entry({}, status=status))
        assert run is not None
        assert (run.status, run.problem) == expected


def test_no_more_files_are_asked_for_than_anybody_can_mean() -> None:
    many = [item(f"{number}.png") for number in range(history.OUTPUTS_LIMIT + 3)]
    run = history.parse("p", entry({"1": {"images": many}}))
    assert run is not None
    assert (len(run.outputs), len(run.skipped)) == (history.OUTPUTS_LIMIT, 3)
