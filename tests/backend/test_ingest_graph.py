# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from a graph how a picture was made, and from a history what became of a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.comfyui import history
from noslop_backend.media.tags import sampling
from noslop_backend.media.tags.graph import Graph

# The example that ComfyUI starts with, and a second sampler that is not upstream of its image.
GRAPH: Graph = {
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


def test_parameters_of_an_image_are_those_upstream_of_it() -> None:
    values = sampling.parameters(GRAPH, sampling.upstream(GRAPH, "9"))
    assert values["sampling"] == [
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
    assert values["models"] == [{"node": "4", "input": "ckpt_name", "name": "sd15.safetensors"}]
    assert values["sizes"] == [{"node": "5", "class": "EmptyLatentImage", "width": 512, "height": 768, "batch_size": 1}]
    # Through a node that hands both sides on.
    assert (values["positive"], values["negative"]) == (["a bottle"], ["watermark"])
    assert values["texts"] == ["a bottle", "watermark"]


def test_parameters_of_a_prompt_are_those_of_all_its_nodes() -> None:
    values = sampling.parameters(GRAPH, GRAPH)
    assert [one["node"] for one in values["sampling"]] == ["3", "20"]
    assert values["positive"] == ["plain words", "a bottle"]


def node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def text(value: str) -> dict[str, Any]:
    return node("PrimitiveStringMultiline", value=value)


def sampler(**inputs: object) -> dict[str, Any]:
    return node(
        "KSampler", **{"seed": 5, "positive": ["text", 0], "negative": ["no", 0], "model": ["loader", 0], **inputs}
    )


LOADER = node("CheckpointLoaderSimple", ckpt_name="a.safetensors")
TEXT = node("CLIPTextEncode", text=["words", 0], clip=["loader", 1])
ZERO = node("ConditioningZeroOut", conditioning=["text", 0])
CAT, DOG = text("a cat"), text("a dog")
#: Nodes beside LOADER, TEXT and a sampler; then the seed, prompts and negatives. A seed of None could not be followed.
LINKED: dict[str, tuple[Graph, object, list[str], list[str]]] = {
    "primitives": (
        {"sampler": sampler(seed=["number", 0]), "words": CAT}
        | {"number": node("PrimitiveInt", value=7, control_after_generate="fixed")},
        *(7, ["a cat"], []),
    ),
    "zeroed": ({"no": ZERO, "words": CAT}, 5, ["a cat"], []),
    "zeroed behind another node": (
        {"no": node("FluxGuidance", guidance=3.5, conditioning=["zero", 0]), "zero": ZERO, "words": CAT},
        *(5, ["a cat"], []),
    ),
    "zeroed on one side of a node that has both": (
        {"sampler": sampler(positive=["both", 0], negative=["both", 1]), "zero": ZERO, "words": CAT}
        | {"both": node("ControlNetApplyAdvanced", positive=["text", 0], negative=["zero", 0])},
        *(5, ["a cat"], []),
    ),
    "joined": (
        {"words": node("StringConcatenate", string_a=["one", 0], string_b="on a mat", delimiter=", "), "one": CAT},
        *(5, ["a cat, on a mat"], []),
    ),
    "joined by WAS": (
        {
            "words": node(
                "Text Concatenate", delimiter=" ", clean_whitespace="true", text_a=["one", 0], text_b=["two", 0]
            )
        }
        | {"one": node("Text Multiline", text="a cat"), "two": node("CR Prompt Text", prompt="asleep")},
        *(5, ["a cat asleep"], []),
    ),
    "joined twice": (
        {"words": node("JoinStringMulti", string_1=["one", 0], string_2=["one", 0], inputcount=2, delimiter="\\n")}
        | {"one": node("StringConcatenate", string_a="a", string_b="b", delimiter="")},
        *(5, ["ab\nab"], []),
    ),
    "switched by a number": (
        {"words": node("CR Text Input Switch", Input=2, text1=["one", 0], text2=["two", 0]), "one": DOG, "two": CAT},
        *(5, ["a cat"], []),
    ),
    "switched by a linked boolean": (
        {"words": node("ComfySwitchNode", switch=["which", 0], on_false=["one", 0], on_true=["two", 0])}
        | {"which": node("PrimitiveBoolean", value=True), "one": DOG, "two": CAT},
        *(5, ["a cat"], []),
    ),
    "switched to the first that is connected": (
        {"words": node("Any Switch (rgthree)", any_02=["two", 0], any_03=["one", 0]), "one": DOG, "two": CAT},
        *(5, ["a cat"], []),
    ),
    "switched conditioning": (
        {"sampler": sampler(positive=["which", 0]), "other": node("CLIPTextEncode", text="a dog"), "words": CAT}
        | {"which": node("ImpactSwitch", select=1, input1=["text", 0], input2=["other", 0])},
        *(5, ["a cat"], []),
    ),
    "rerouted": (
        {"words": node("Reroute", **{"": ["show", 0]}), "show": node("ShowText|pysssss", text=["one", 0], text_0="old")}
        | {"one": CAT},
        *(5, ["a cat"], []),
    ),
    "a guider": (
        {"sampler": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guide", 0]), "words": CAT}
        | {"noise": node("RandomNoise", noise_seed=["seed", 0]), "seed": node("Seed (rgthree)", seed=9)}
        | {"guide": node("BasicGuider", conditioning=["text", 0])},
        *(9, ["a cat"], []),
    ),
    "texts of a video": (
        {"words": node("WanVideoTextEncode", positive_prompt=["one", 0], negative_prompt="blur"), "one": CAT}
        | {"sampler": node("WanVideoSampler", seed=5, text_embeds=["words", 0]), "text": node("Note", text="")},
        *(5, ["a cat"], ["blur"]),
    ),
    "texts of a loader": (
        {"words": node("Efficient Loader", positive="a cat", negative="blur", ckpt_name="a.safetensors")}
        | {"sampler": sampler(positive=["words", 1], negative=["words", 2]), "text": node("Note", text="")},
        *(5, ["a cat"], ["blur"]),
    ),
    "computed": (
        {"sampler": sampler(seed=["random", 0]), "random": node("Random Number", minimum=0, maximum=9)}
        | {"words": node("StringReplace", string="a", find="a", replace="b")},
        *(None, [], []),
    ),
    "text where a number belongs": ({"sampler": sampler(seed=["words", 0]), "words": CAT}, None, ["a cat"], []),
}


@pytest.mark.parametrize("name", LINKED)
def test_literals_are_followed_through_links(name: str) -> None:
    nodes, seed, positive, negative = LINKED[name]
    linked: Graph = {"loader": LOADER, "sampler": sampler(), "text": TEXT, **nodes}
    values = sampling.parameters(linked, linked)
    ours = [one for one in values.get("sampling", []) if one["node"] in {"sampler", "noise"}]
    assert next((one.get("seed", one.get("noise_seed")) for one in ours), None) == seed
    assert values.get("positive", []) == positive
    assert values.get("negative", []) == negative
    if name == "computed":
        assert [(one["node"], one["input"], one["why"]) for one in values["unresolved"]] == [
            ("sampler", "seed", "Random Number (node random) computes it"),
            ("text", "text", "StringReplace (node words) computes it"),
        ]


LORAS: dict[str, tuple[dict[str, Any], list[tuple[object, ...]]]] = {
    "LoraLoader": (
        node("LoraLoader", lora_name="a.safetensors", strength_model=0.8, strength_clip=0.5),
        [("a.safetensors", 0.8, 0.5)],
    ),
    "linked strength": (
        node("LoraLoaderModelOnly", lora_name=["name", 0], strength_model=["number", 0]),
        [("linked.safetensors", 0.25, None)],
    ),
    "Power Lora Loader": (
        node(
            "Power Lora Loader (rgthree)",
            PowerLoraLoaderHeaderWidget={"type": "PowerLoraLoaderHeaderWidget"},
            lora_1={"on": True, "lora": "a.safetensors", "strength": 0.8, "strengthTwo": None},
            lora_2={"on": False, "lora": "b.safetensors", "strength": 1},
            lora_3={"on": True, "lora": "c.safetensors", "strength": 1, "strengthTwo": 0.1},
        ),
        [("a.safetensors", 0.8, None), ("c.safetensors", 1, 0.1)],
    ),
    "CR LoRA Stack": (
        node(
            "CR LoRA Stack",
            switch_1="On",
            lora_name_1="a.safetensors",
            model_weight_1=0.8,
            clip_weight_1=1,
            switch_2="Off",
            lora_name_2="b.safetensors",
            model_weight_2=1,
            lora_name_3="None",
        ),
        [("a.safetensors", 0.8, None)],
    ),
    "Lora Manager": (
        node(
            "Lora Loader (LoraManager)",
            loras={"__value__": [{"name": "a", "strength": 0.8, "active": True}, {"name": "b", "active": False}]},
        ),
        [("a", 0.8, None)],
    ),
    "WanVideoLoraSelect": (
        node("WanVideoLoraSelect", lora="a.safetensors", strength=0.8),
        [("a.safetensors", 0.8, None)],
    ),
}


@pytest.mark.parametrize("name", LORAS)
def test_loras_have_their_strengths(name: str) -> None:
    loader, expected = LORAS[name]
    nodes: Graph = {"1": loader, "number": node("PrimitiveFloat", value=0.25), "name": text("linked.safetensors")}
    loras = sampling.parameters(nodes, nodes)["loras"]
    assert [(one["name"], one.get("strength"), one.get("strength_clip")) for one in loras] == expected


def test_a_node_that_selects_a_model_is_no_switch() -> None:
    nodes: Graph = {
        "1": node("WanVideoLoraSelect", lora="a.st", strength=0.8, prev_lora=["2", 0], blocks=["3", 0]),
        "2": node("WanVideoLoraSelect", lora="b.st", strength=0.5),
        "3": node("WanVideoLoraBlockEdit", blocks=""),
    }
    assert sampling.upstream(nodes, "1") == ["1", "2", "3"]


def test_a_control_net_has_the_strength_that_it_is_applied_with() -> None:
    nodes: Graph = {
        "1": node("ControlNetLoader", control_net_name="canny.safetensors"),
        "2": node("ControlNetApplyAdvanced", control_net=["1", 0], strength=0.6),
    }
    (model,) = sampling.parameters(nodes, nodes)["models"]
    assert (model["name"], model["strength"]) == ("canny.safetensors", 0.6)


def test_links_that_multiply_end_at_their_budget() -> None:
    """Follow forty joins, each of the one before with itself: a million million steps without a budget."""
    nodes: Graph = {"0": text("a")}
    for number in range(1, 41):
        before = [str(number - 1), 0]
        nodes[str(number)] = node("StringConcatenate", string_a=before, string_b=before)
    nodes["text"] = node("CLIPTextEncode", text=["40", 0])
    values = sampling.parameters(nodes, ["text"])
    assert 0 < len(values["unresolved"]) <= 100
    chain: Graph = {str(number): node("Reroute", **{"": [str(number + 1), 0]}) for number in range(100)}
    chain["text"] = node("CLIPTextEncode", text=["0", 0])
    assert "more than 64 links" in sampling.parameters(chain, ["text"])["unresolved"][0]["why"]


def test_circles_and_links_to_nowhere_end() -> None:
    circle: Graph = {
        "a": {"class_type": "X", "inputs": {"positive": ["b", 0], "text": "one"}},
        "b": {"class_type": "Y", "inputs": {"in": ["a", 0], "more": ["gone", 0], "text": "two"}},
    }
    assert sampling.upstream(circle, "a") == ["a", "b"]
    assert sampling.upstream(circle, "gone") == []
    assert sampling.parameters(circle, circle)["positive"] == ["two", "one"]


def test_values_that_no_database_stores_are_left_out() -> None:
    odd = {"1": {"class_type": "K\0S", "inputs": {"seed": 10**400, "cfg": float("inf"), "text": "a\0b\ud800c"}}}
    assert sampling.parameters(odd, odd) == {"texts": ["ab?c"]}
    assert sampling.class_of(odd, "1") == "KS"


def test_however_much_a_graph_says_it_fits_into_a_row() -> None:
    text = "\U0001f3a8" * 5000
    large: Graph = {
        str(number): {"class_type": "K", "inputs": {"seed": number, "sampler_name": "e", "text": f"{number}{text}"}}
        for number in range(300)
    }
    values = sampling.parameters(large, large)
    assert len(json.dumps(values)) < 300_000
    assert len(values["sampling"]) == 100


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3))
def test_any_graph_is_read_without_an_error(given_graph: dict[str, Any]) -> None:
    for node_id in [*given_graph, "nowhere"]:
        values = sampling.parameters(given_graph, sampling.upstream(given_graph, node_id))
        json.dumps(values, allow_nan=False).encode()


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


def test_files_are_listed_under_whatever_name_a_node_has_for_them() -> None:
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
    assert [(one.node_id, one.key, one.text) for one in run.texts] == [("2", "text", "words"), ("3", "images", "none")]
    assert "preview" in run.skipped[0].why
    assert "another directory" in run.skipped[2].why


def test_a_run_has_the_status_of_its_prompt() -> None:
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
        ({"status_str": "success", "messages": 5}, ("success", "")),
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


@pytest.mark.parametrize(
    ("shown", "files", "texts"),
    [
        ({"text": ["a caption", "another"]}, [], ["a caption", "another"]),
        ({"text": "not in a list"}, [], ["not in a list"]),
        ({"value": [42, 0.5, True, None]}, [], ["42", "0.5"]),
        ({"result": ["3d/mesh_00001_.glb", {"position": 1}, ""]}, [("3d", "mesh_00001_.glb")], []),
        ({"result": ["mesh.glb"], "3d": [item("mesh.glb")]}, [("", "mesh.glb")], []),
        ({"result": ["a\\b\\mesh.glb"]}, [("a/b", "mesh.glb")], []),
        (
            {"result": ["/etc/passwd.txt", "C:\\x.glb", "a sentence."]},
            [],
            ["/etc/passwd.txt", "C:\\x.glb", "a sentence."],
        ),
        ({"result": [["nested"]], "tags": [{"a": 1}]}, [], []),
    ],
)
def test_texts_and_paths_of_a_history_are_kept(
    shown: dict[str, Any], files: list[tuple[str, str]], texts: list[str]
) -> None:
    run = history.parse("p", entry({"1": shown}))
    assert run is not None
    assert [(one.subfolder, one.filename) for one in run.outputs] == files
    assert [one.text for one in run.texts] == texts
    assert run.skipped == []


def test_texts_of_a_history_that_are_not_kept_are_left_out() -> None:
    run = history.parse("p", entry({"1": {"text": ["x" * 3000, *map(str, range(history.TEXTS_LIMIT + 5))]}}))
    assert run is not None
    assert len(run.texts) == history.TEXTS_LIMIT
    assert [(one.output.node_id, one.output.key, one.output.type, one.why) for one in run.skipped] == [
        ("1", "text", "text", "it is a text, and its first 2000 letters are kept"),
        ("1", "text", "text", "it is a text, and at most 100 texts are kept"),
    ]
