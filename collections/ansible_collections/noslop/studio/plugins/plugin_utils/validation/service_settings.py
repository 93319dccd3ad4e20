# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings of Ollama and ComfyUI that users write as dictionaries.

The programs ignore or misread what they do not know: a misspelled variable has no effect, a misspelled flag ends the
start, and the text "no" counts as true. What they accept is data of the roles, ``roles/*/vars``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older

_ROLES = Path(__file__).parents[3] / "roles"
#: Least similarity of a misspelled name to the one that is proposed.
LIKENESS = 0.7
#: A duration as Go writes it (time.ParseDuration), like 1h30m.
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


@dataclass(frozen=True)
class Program:
    """A program with settings; ``variable`` has them, and ``others`` has what NoSlop does not know."""

    title: str
    variable: str
    others: str
    data: str


PROGRAMS = {
    "ollama": Program(
        studio.SERVICES["ollama"].title, "ollama_settings", "ollama_environment", "ollama/vars/settings.yml"
    ),
    "comfyui": Program(
        studio.SERVICES["comfyui"].title, "comfyui_flags", "comfyui_extra_args", "comfyui/vars/flags.yml"
    ),
}


@dataclass(frozen=True)
class Setting:
    """One setting of a program, with the values that it accepts; ``instead`` is not empty where NoSlop sets it."""

    kind: str = ""
    choices: tuple[str, ...] = ()
    least: int = 0
    since: str = ""
    group: str = ""
    instead: str = ""


@cache
def read_settings(program: str) -> Mapping[str, Setting]:
    """Return the settings of a program by name, from the data of its role."""
    (settings,) = yaml.safe_load((_ROLES / PROGRAMS[program].data).read_text(encoding="utf-8")).values()
    return {
        name: Setting(**{**fields, "choices": tuple(fields.get("choices", ()))}) for name, fields in settings.items()
    }


def find_problems(
    program: str,
    values: Mapping[str, object],
    version: str = "",
    others: Collection[str] = (),
    own: Collection[str] = (),
) -> list[str]:
    """Return one sentence for each setting that cannot work, with what to do.

    Args:
        program: a name in :data:`PROGRAMS`.
        values: the settings, as the user wrote them.
        version: the version of the program, where it has a number: ``0.33.0`` or ``v0.33.0``.
        others: names that are set in another variable of the role, which is passed on unchecked.
        own: names that NoSlop sets on this host, and that may exclude some of the user's.
    """
    about = PROGRAMS[program]
    settings = read_settings(program)
    problems = []
    for name in sorted(values, key=str):
        setting = settings.get(name)
        problem = (
            _explain_unknown(about, name, settings)
            if setting is None
            else _find_problem(about, setting, values[name], version)
        )
        if not problem and name in others:
            problem = f"is in {about.others} too: leave it in one of them"
        if problem:
            problems.append(f"{about.variable}.{name} {problem}.")
    return problems + _find_conflicts(about, settings, values, own)


@dataclass(frozen=True)
class Offer:
    """Settings of an existing program: those to write into the role's variable, and those that NoSlop sets itself."""

    settings: dict[str, object]
    own: dict[str, str]


def offer_settings(program: str, environment: Mapping[str, str]) -> Offer:
    """Return the settings of an existing program as the user would write them.

    ``own`` has the reason for each name, as in the data. Names that NoSlop does not know are left out.
    """
    settings = read_settings(program)
    accepted = {name: settings[name] for name in sorted(environment) if name in settings}
    return Offer(
        {name: _parse(setting, environment[name]) for name, setting in accepted.items() if not setting.instead},
        {name: setting.instead for name, setting in accepted.items() if setting.instead},
    )


def _parse(setting: Setting, text: str) -> object:
    """Return a value from its text in an environment, where every text that is no boolean counts as true."""
    kinds = setting.kind.split(" or ")
    if "int" in kinds and re.fullmatch(r"-?\d+", text):
        return int(text)
    if "bool" in kinds:
        return text.lower() not in {"", "0", "f", "false"}
    return text


def _explain_unknown(about: Program, name: str, settings: Mapping[str, Setting]) -> str:
    alike = difflib.get_close_matches(str(name), settings, n=1, cutoff=LIKENESS)
    proposal = f"Did you mean {alike[0]}? " if alike else ""
    return (
        f"is no setting of {about.title} that NoSlop knows. {proposal}"
        f"What {about.title} has and NoSlop does not know goes into {about.others}, which is passed on unchecked"
    )


def _find_problem(about: Program, setting: Setting, value: object, version: str) -> str:
    if setting.instead:
        return f"is set by NoSlop: {setting.instead}"
    if is_older(version, setting.since):
        return (
            f"needs {about.title} {setting.since} or newer, and {version} is to be installed: "
            "remove it, or install a newer version"
        )
    kinds = setting.kind.split(" or ")
    if not any(_KINDS[kind].accepts(setting, value) for kind in kinds):
        wanted = ", or ".join(_KINDS[kind].describe(setting) for kind in kinds)
        return f"is {_describe(value)}; {about.title} wants {wanted}"
    return ""


def _find_conflicts(
    about: Program, settings: Mapping[str, Setting], values: Mapping[str, object], own: Collection[str]
) -> list[str]:
    groups: dict[str, list[str]] = {settings[name].group: [f"{name} (which NoSlop sets on this host)"] for name in own}
    for name in sorted(values, key=str):
        setting = settings.get(name)
        if setting and setting.group and not setting.instead and values[name] is not False:
            groups.setdefault(setting.group, []).append(name)
    return [
        f"{about.variable}: {', '.join(names)} exclude each other ({group}). Leave one of them."
        for group, names in groups.items()
        if len(names) > 1
    ]


def _describe(value: object) -> str:
    return f"the text {value!r}" if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class _Kind:
    accepts: Callable[[Setting, object], bool]
    describe: Callable[[Setting], str]


def _is_number(setting: Setting, value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and value >= setting.least  # type: ignore[operator]


def _is_text(setting: Setting, value: object) -> bool:
    """Return whether a value is one line of text: a unit would read the second line as another setting."""
    return isinstance(value, str) and value.isprintable() and bool(value) and value in (setting.choices or (value,))


def _is_list(setting: Setting, value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(_is_text(setting, str(item)) for item in value)


def _list_choices(setting: Setting, otherwise: str) -> str:
    return f"one of {', '.join(setting.choices)}" if setting.choices else otherwise


_KINDS = {
    "bool": _Kind(lambda _, value: isinstance(value, bool), lambda _: "true or false, without quotes"),
    "int": _Kind(
        lambda setting, value: _is_number(setting, value, (int,)),
        lambda setting: f"a whole number from {setting.least}, without quotes",
    ),
    "number": _Kind(
        lambda setting, value: _is_number(setting, value, (int, float)),
        lambda setting: f"a number from {setting.least}, without quotes",
    ),
    "duration": _Kind(
        lambda _, value: isinstance(value, str) and _DURATION.fullmatch(value) is not None,
        lambda _: "a time like 30s, 5m or 1h30m",
    ),
    "text": _Kind(_is_text, lambda setting: _list_choices(setting, "one line of text")),
    "path": _Kind(
        lambda setting, value: _is_text(setting, value) and str(value).startswith("/"), lambda _: "an absolute path"
    ),
    "list": _Kind(_is_list, lambda setting: "a list of " + _list_choices(setting, "texts").removeprefix("one of ")),
}
