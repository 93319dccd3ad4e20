# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the documentation of the roles from their defaults: `default:` in each argument spec, and each README.md.

A default is the value that defaults/main.yml has for a studio that sets no variable. An option has none in its spec
where it is required, where it may hold a secret (`no_log`), or where its description says what it is "By default",
because it depends on the host, the play or the inventory.

Of a README.md, what stands above the line MARK is written by hand.

    python tests/lint/role_docs.py            (make docs)
    python tests/lint/role_docs.py --check    names what is stale, and changes nothing
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

COLLECTIONS = Path(__file__).parents[2] / "collections"
ROLES = COLLECTIONS / "ansible_collections/noslop/studio/roles"
MARK = "<!-- `make docs` writes what follows, from meta/argument_specs.yml, defaults/main.yml and tasks/main.yml. -->"
ELSEWHERE = "By default"
SPEC = "meta/argument_specs.yml"

_SETTING = re.compile(r"'setting', '(\w+)'")
_MARKUP = (
    (re.compile(r"P\(([\w.]+)#\w+\)"), r"`\1`"),
    (re.compile(r"[COV]\(([^)]*)\)"), r"`\1`"),
)
#: Cells of a table end at a vertical bar.
_ESCAPES = str.maketrans({"|": r"\|", "\n": " "})


@dataclass(frozen=True)
class Undefined:
    """A default that needs what only a host, a play or an inventory has."""


@dataclass(frozen=True)
class Role:
    """A role as its files describe it. ``values`` are the defaults of a studio that sets no variable."""

    name: str
    specs: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Any]
    values: Mapping[str, Any]
    tasks: list[dict[str, Any]]

    @property
    def options(self) -> dict[str, Mapping[str, Any]]:
        """Return the options of all entry points by name."""
        return {name: option for spec in self.specs.values() for name, option in spec.get("options", {}).items()}


def text_of(description: str | list[str]) -> str:
    """Return a description, which may be a list of paragraphs, as Markdown in one line."""
    text = " ".join([description] if isinstance(description, str) else description).strip()
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def has_documented_default(option: Mapping[str, Any]) -> bool:
    """Return whether the spec of an option is to have a `default:`."""
    return not (option.get("required") or option.get("no_log") or ELSEWHERE in text_of(option["description"]))


def format_value(value: object) -> str:
    """Return a value as YAML in one line, text in double quotes where it needs any."""
    if isinstance(value, str):
        plain = yaml.safe_dump(value, width=1000).removesuffix("...\n").strip()
        return value if plain == value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def problems(role: Role) -> Iterator[str]:
    """Yield what a role's spec and defaults say differently and this script cannot write."""
    for name in sorted(set(role.options) ^ set(role.defaults)):
        have, lack = (SPEC, "defaults/main.yml") if name in role.options else ("defaults/main.yml", SPEC)
        yield f"{role.name}: {name} is in {have} and missing in {lack}. Add it there."
    for name, option in role.options.items():
        value = role.values.get(name)
        if option.get("no_log") and value:
            yield f"{role.name}: {name} may hold a secret, so its default must be empty. Empty it in defaults/main.yml."
        if has_documented_default(option) and isinstance(value, Undefined):
            yield (
                f"{role.name}: {name} needs what only a host or an inventory has ({role.defaults[name]}). "
                f"Write into its description in {SPEC} what it is: '{ELSEWHERE} ...'."
            )
        if not has_documented_default(option) and not option.get("required") and not option.get("no_log"):
            default = role.defaults.get(name)
            if not (isinstance(default, str) and "{{" in default):
                yield f"{role.name}: {name} is {default!r} on every host. Take '{ELSEWHERE}' out of its description."


def write_defaults(text: str, role: Role) -> str:
    """Return the text of an argument spec with the `default:` of each option that is to have one, and no other."""
    lines: list[str] = []
    option, indent, pending = "", 0, ""
    for line in [*text.splitlines(), ""]:
        depth = len(line) - len(line.lstrip())
        if pending and (depth <= indent or line.strip() == "options:"):
            lines.append(pending)
            pending = ""
        match = re.fullmatch(r"\s*(\w+):(?: &\w+)?", line)
        if match and match[1] in role.options:
            option, indent = match[1], depth
            if has_documented_default(role.options[option]):
                pending = f"{' ' * (indent + 2)}default: {format_value(role.values[option])}"
        elif option and depth == indent + 2 and line.lstrip().startswith("default:"):
            continue
        lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


def _default_cell(role: Role, name: str, option: Mapping[str, Any]) -> str:
    """Return the default of an option for the table, with the variables of the studio that it follows."""
    if option.get("required"):
        return "required"
    if not has_documented_default(option):
        return "empty" if option.get("no_log") else "computed"
    value = f"`{format_value(role.values[name])}`" if role.values[name] not in ("", [], {}) else "empty"
    settings = sorted(set(_SETTING.findall(str(role.defaults[name]))))
    return f"{value}, from {', '.join(f'`{setting}`' for setting in settings)}" if settings else value


def _type_cell(option: Mapping[str, Any]) -> str:
    """Return the type of an option, with its choices."""
    kind = f"list of {option['elements']}" if option.get("elements") else str(option["type"])
    choices = option.get("choices")
    return f"{kind}: {', '.join(f'`{choice}`' for choice in choices)}" if choices else kind


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(cell.translate(_ESCAPES) for cell in row)} |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:], ""]


def _import_of(task: Mapping[str, Any]) -> str:
    """Return the file that a task of tasks/main.yml imports, or an empty string."""
    imported = task.get("ansible.builtin.import_tasks", "")
    return str(imported.get("file", "") if isinstance(imported, dict) else imported)


def write_readme(head: str, role: Role) -> str:
    """Return the text of a README.md with this part that is written by hand."""
    lines = [head.rstrip("\n"), "", MARK, "", "## Entry points", ""]
    for name, spec in role.specs.items():
        lines += [f"`{name}`: {spec['short_description']}.", ""]
        description = spec["description"]
        lines += [
            f"- {text_of(paragraph)}" for paragraph in ([description] if isinstance(description, str) else description)
        ]
        lines.append("")
    lines += ["## Tasks", ""]
    rows = [
        [str(number), f"[`{_import_of(task)}`](tasks/{_import_of(task)})", task["name"],
         ", ".join(f"`{tag}`" for tag in task.get("tags", []))]
        for number, task in enumerate((task for task in role.tasks if _import_of(task)), 1)
    ]  # fmt: skip
    lines += _table(["", "File", "What it does", "Tags"], rows)
    lines += ["## Variables", "", "The defaults are those of a studio that sets no variable.", ""]
    rows = [
        [f"`{name}`", _type_cell(option), _default_cell(role, name, option), text_of(option["description"])]
        for name, option in sorted(role.options.items(), key=lambda item: not item[1].get("required"))
    ]
    lines += _table(["Variable", "Type", "Default", "Meaning"], rows)
    return "\n".join(lines).rstrip("\n") + "\n"


def read_roles() -> Iterator[Role]:
    """Read every role, and evaluate its defaults with Ansible for a host without facts.

    Ansible's loader of collections and the tests' imports of them exclude each other: call this in a program of its
    own.
    """
    init_plugin_loader([str(COLLECTIONS)])
    loader = DataLoader()
    for directory in sorted(path.parent for path in ROLES.glob("*/defaults")):
        available: dict[str, Any] = {}
        for part in ("defaults", "vars"):
            path = directory / part / "main.yml"
            if path.exists():
                available |= loader.load_from_file(str(path), trusted_as_template=True)
        templar = Templar(loader, variables=available)
        values: dict[str, Any] = {}
        defaults = yaml.safe_load((directory / "defaults/main.yml").read_text("utf-8"))
        for name in defaults:
            try:
                values[name] = json.loads(json.dumps(templar.template(available[name])))
            except AnsibleError:
                values[name] = Undefined()
        specs = yaml.safe_load((directory / SPEC).read_text("utf-8"))["argument_specs"]
        tasks = yaml.safe_load((directory / "tasks/main.yml").read_text("utf-8"))
        yield Role(directory.name, specs, defaults, values, tasks)


def _files_of(role: Role) -> Iterator[tuple[Path, str, str]]:
    """Yield each file that is written for a role, with its text and the text that it is to have."""
    spec, readme = ROLES / role.name / SPEC, ROLES / role.name / "README.md"
    text = spec.read_text("utf-8")
    yield spec, text, write_defaults(text, role)
    text = readme.read_text("utf-8") if readme.exists() else f"# noslop.studio.{role.name}\n"
    yield readme, text, write_readme(text.partition(MARK)[0], role)


def main(check: bool) -> int:
    """Write what is stale, or name it. Return 1 where something is left to do."""
    reports: list[str] = []
    for role in read_roles():
        mistakes = list(problems(role))
        reports += mistakes
        for path, text, wanted in _files_of(role) if not mistakes else ():
            if text != wanted and check:
                reports.append(f"{path.relative_to(COLLECTIONS.parent)} is stale: run `make docs`.")
            elif text != wanted:
                path.write_text(wanted, "utf-8")
                print(f"wrote {path.relative_to(COLLECTIONS.parent)}")
    print(*reports, sep="\n", end="\n" if reports else "")
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
