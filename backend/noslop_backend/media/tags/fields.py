# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the same fields of what different programs embed: prompt, seeds, models and so on, to be searched. Pure.

Which texts are whose: `prompt` and `workflow` are ComfyUI's, in one `comment` VideoHelperSuite's; `sui_image_params`
SwarmUI's; `invokeai_metadata` InvokeAI's; `parameters` A1111's, which SwarmUI uses for JSON of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from noslop_backend.core import json_depth
from noslop_backend.media.tags import a1111, sampling, ui_workflow
from noslop_backend.media.tags.graph import Unresolved

#: Letters of a prompt or negative that are kept; all of it is in the texts.
TEXT_LIMIT = 20_000
T = TypeVar("T")
_ITEMS_LIMIT = 100
_NAME_LIMIT = 500
#: Texts that hold what `parameters` does, where there is no such key.
_PARAMETERS = ("parameters", "UserComment", "comment", "ImageDescription", "XPComment")
_KINDS = {
    "ckpt_name": "checkpoint",
    "unet_name": "diffusion_model",
    "vae_name": "vae",
    "control_net_name": "controlnet",
    "style_model_name": "style_model",
    "upscale_model": "upscale_model",
    "hypernetwork_name": "hypernetwork",
    **{f"clip_name{number}": "text_encoder" for number in ("", 1, 2, 3, 4)},
}


class Source(StrEnum):
    """The program that wrote a file's texts."""

    COMFYUI = "comfyui"
    VIDEOHELPERSUITE = "videohelpersuite"
    A1111 = "a1111"
    SWARMUI = "swarmui"
    INVOKEAI = "invokeai"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Model:
    """A model that was used, with what it is, and its strength where it has one."""

    name: str
    kind: str = "model"
    strength: float | None = None


@dataclass(frozen=True)
class Lora:
    """A LoRA that was used. `strength_clip` is the text encoder's, where it has another."""

    name: str
    strength: float | None = None
    strength_clip: float | None = None


@dataclass(frozen=True)
class Fields:
    """How a file was made, the same whatever program says it. What is not said is empty or None."""

    source: Source = Source.UNKNOWN
    prompt: str = ""
    negative: str = ""
    seeds: tuple[int, ...] = ()
    steps: int | None = None
    cfg: float | None = None
    sampler: str = ""
    scheduler: str = ""
    models: tuple[Model, ...] = ()
    loras: tuple[Lora, ...] = ()
    #: Pixels that were asked for; the file's own size may be another.
    width: int | None = None
    height: int | None = None
    unresolved: tuple[Unresolved, ...] = ()


def from_texts(texts: Mapping[str, str]) -> Fields:
    """Return the fields of a file that embeds these texts. Of several programs' the first counts."""
    merged = Fields()
    for one in _readings(texts):
        source = one.source if merged.source == Source.UNKNOWN else merged.source
        unsaid = [name.name for name in fields(Fields) if not getattr(merged, name.name)]
        merged = replace(merged, **{name: getattr(one, name) for name in unsaid}, source=source)
    return merged


def _readings(texts: Mapping[str, str]) -> Iterable[Fields]:
    swarm = [_object(texts.get("sui_image_params"))]
    swarm += [_object(_object(texts.get(key)).get("sui_image_params")) for key in _PARAMETERS]
    yield from (_swarmui(params) for params in swarm if params)
    if metadata := _object(texts.get("invokeai_metadata", "")):
        yield _invokeai(metadata)
    comment = _object(texts.get("comment", ""))
    for source, holder in ((Source.COMFYUI, texts), (Source.VIDEOHELPERSUITE, comment)):
        if prompt := _object(holder.get("prompt")):
            yield _comfyui(prompt, source)
        elif workflow := _object(holder.get("workflow")):
            yield _comfyui(ui_workflow.to_graph(workflow), source)
    for key in _PARAMETERS:
        if (parameters := a1111.parse(texts.get(key, ""))) is not None:
            yield _a1111(parameters)


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object, given as one or as its text; empty for anything else."""
    if isinstance(value, str) and value[:1] == "{":
        try:
            value = json_depth.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _comfyui(graph: dict[str, Any], source: Source) -> Fields:
    values = sampling.parameters(graph, graph)
    settings = values.get("sampling", [])
    sizes: dict[str, Any] = next((one for one in values.get("sizes", []) if "width" in one and "height" in one), {})
    texts = values.get("positive") or ([] if values.get("negative") else values.get("texts", []))
    models = (
        Model(_name(one["name"]), _KINDS.get(one["input"], "model"), _float(one.get("strength")))
        for one in values.get("models", [])
        if one["input"] != "lora_name"
    )
    loras = (
        Lora(_name(one["name"]), _float(one.get("strength")), _float(one.get("strength_clip")))
        for one in values.get("loras", [])
    )
    seeds = (_int(one.get(name)) for one in settings for name in ("seed", "noise_seed"))
    return Fields(
        source=source,
        prompt=_joined(texts),
        negative=_joined(values.get("negative", [])),
        seeds=_unique(seed for seed in seeds if seed is not None),
        steps=_int(_first(settings, "steps")),
        cfg=_float(_first(settings, "cfg", "guidance")),
        sampler=_name(_first(settings, "sampler_name")),
        scheduler=_name(_first(settings, "scheduler")),
        models=_unique(models),
        loras=_unique(loras),
        width=_int(sizes.get("width")),
        height=_int(sizes.get("height")),
        unresolved=tuple(Unresolved(**one) for one in values.get("unresolved", [])),
    )


def _a1111(parameters: a1111.Parameters) -> Fields:
    settings = parameters.settings
    width, _, height = settings.get("Size", "").partition("x")
    models = ((settings.get("Model", ""), "checkpoint"), (settings.get("VAE", ""), "vae"))
    seed = _int(settings.get("Seed"))
    return Fields(
        source=Source.A1111,
        prompt=_joined([parameters.prompt]),
        negative=_joined([parameters.negative]),
        seeds=() if seed is None else (seed,),
        steps=_int(settings.get("Steps")),
        cfg=_float(settings.get("CFG scale")),
        sampler=_name(settings.get("Sampler")),
        scheduler=_name(settings.get("Schedule type")),
        models=tuple(Model(_name(name), kind) for name, kind in models if name),
        loras=_unique(
            Lora(_name(name), _float(strength or 1), _float(clip or None)) for name, strength, clip in parameters.loras
        ),
        width=_int(width),
        height=_int(height),
    )


def _swarmui(params: dict[str, Any]) -> Fields:
    models = ((_name(params.get("model")), "checkpoint"), (_name(params.get("vae")), "vae"))
    strengths = _listed(params.get("loraweights"))
    names = _listed(params.get("loras"))
    seed = _int(params.get("seed"))
    return Fields(
        source=Source.SWARMUI,
        prompt=_joined([params.get("prompt")]),
        negative=_joined([params.get("negativeprompt")]),
        seeds=() if seed is None else (seed,),
        steps=_int(params.get("steps")),
        cfg=_float(params.get("cfgscale")),
        sampler=_name(params.get("sampler")),
        scheduler=_name(params.get("scheduler")),
        models=tuple(Model(name, kind) for name, kind in models if name),
        loras=_unique(
            Lora(_name(name), _float(strengths[number]) if number < len(strengths) else None)
            for number, name in enumerate(names)
        ),
        width=_int(params.get("width")),
        height=_int(params.get("height")),
    )


def _invokeai(metadata: dict[str, Any]) -> Fields:
    listed = metadata.get("loras")
    loras = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    models = ((metadata.get("model"), "checkpoint"), (metadata.get("vae"), "vae"))
    controls = metadata.get("controlnets")
    control_nets = [one for one in controls if isinstance(one, dict)] if isinstance(controls, list) else []
    seed = _int(metadata.get("seed"))
    return Fields(
        source=Source.INVOKEAI,
        prompt=_joined([metadata.get("positive_prompt")]),
        negative=_joined([metadata.get("negative_prompt")]),
        seeds=() if seed is None else (seed,),
        steps=_int(metadata.get("steps")),
        cfg=_float(metadata.get("cfg_scale")),
        scheduler=_name(metadata.get("scheduler")),
        models=(
            *(Model(name, kind) for model, kind in models if (name := _model_name(model))),
            *(
                Model(name, "controlnet", _float(one.get("control_weight")))
                for one in control_nets
                if (name := _model_name(one.get("control_model")))
            ),
        )[:_ITEMS_LIMIT],
        loras=_unique(
            Lora(name, _float(one.get("weight")))
            for one in loras
            if (name := _model_name(one.get("model") or one.get("lora")))
        ),
        width=_int(metadata.get("width")),
        height=_int(metadata.get("height")),
    )


def _model_name(model: object) -> str:
    """Return the name of a model of InvokeAI, which older versions call model_name."""
    return _name(model.get("name") or model.get("model_name")) if isinstance(model, dict) else _name(model)


def _first(settings: list[dict[str, Any]], *names: str) -> object:
    return next((one[name] for name in names for one in settings if name in one), None)


def _listed(value: object) -> list[Any]:
    """Return a list, which SwarmUI also writes as a text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value[:_ITEMS_LIMIT] if isinstance(value, list) else []


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))[:_ITEMS_LIMIT]


def _joined(texts: Iterable[object]) -> str:
    text = "\n".join(text for text in texts if isinstance(text, str))
    return text[:TEXT_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()


def _name(value: object) -> str:
    return value[:_NAME_LIMIT].replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _int(value: object) -> int | None:
    """Return a number that a database can hold, given as one or as its text; None for anything else."""
    try:
        number = int(value) if isinstance(value, int | float) or (isinstance(value, str) and len(value) < 25) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 2**64 else None


def _float(value: object) -> float | None:
    try:
        number = (
            float(value) if isinstance(value, int | float) or (isinstance(value, str) and len(value) < 25) else None
        )
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 2**64 else None
