# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that specs, defaults and READMEs of the roles say the same, and that a difference is reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lint import role_docs
from tests.lint.role_docs import Role, Undefined

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.parent for path in role_docs.ROLES.glob("*/defaults"))
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_LOCALHOST_WARNING": "no",
    "ANSIBLE_NOCOLOR": "1",
}

SPEC = """\
argument_specs:
  main:
    short_description: Write a file
    description:
      - Writes one file, as the lookup P(noslop.studio.studio#lookup) says.
    options:
      sample_id:
        description: Id of the studio.
        type: str
        required: true
      <<: &options
        sample_port:
          description: Port for O(sample_hosts).
          type: int
          default: 1
        sample_hosts:
          description: Hosts, like C(a|b).
          type: list
          elements: dict
          options:
            name:
              description: Its name.
              type: str
              default: kept
        sample_address:
          description: By default that of the host.
          type: str
          default: stale
        sample_secrets:
          description: Passwords.
          type: dict
          no_log: true
  teardown:
    short_description: Remove the file
    description: Removes it.
    options: *options
"""
DEFAULTS: dict[str, Any] = {
    "sample_id": "{{ noslop_studio_id }}",
    "sample_port": "{{ lookup('noslop.studio.studio', 'setting', 'sample_port') }}",
    "sample_hosts": [],
    "sample_address": "{{ ansible_host }}",
    "sample_secrets": {},
}
VALUES = {**DEFAULTS, "sample_id": Undefined(), "sample_port": 80, "sample_address": Undefined()}
TASKS = [{"name": "Write the file", "ansible.builtin.import_tasks": "write.yml", "tags": ["sample"]}]


def sample(spec: str = SPEC, defaults: dict[str, Any] = DEFAULTS, **values: object) -> Role:
    return Role("sample", yaml.safe_load(spec)["argument_specs"], defaults, VALUES | values, TASKS)


def run_ansible(program: str, *words: str) -> str:
    command = [str(Path(sys.executable).with_name(program)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_specs_and_readmes_of_the_roles_are_fresh() -> None:
    """Reject a stale file by its name, with the command that writes it."""
    script = ROOT / "tests/lint/role_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_have_no_default_and_reach_no_log() -> None:
    secret = re.compile("environment$|password|secret|token|database_url")
    secrets = set()
    for role in ROLES:
        for spec in yaml.safe_load((role / role_docs.SPEC).read_text("utf-8"))["argument_specs"].values():
            for name, option in spec.get("options", {}).items():
                if secret.search(name):
                    secrets.add(name)
                    assert option.get("no_log") is True, name
                    assert "default" not in option, name
    assert {"ollama_environment", "comfyui_environment", "studio_backend_database_url"} <= secrets


def test_defaults_are_written_for_options_that_have_one_on_every_host() -> None:
    written = role_docs.write_defaults(SPEC, sample())
    options = yaml.safe_load(written)["argument_specs"]["teardown"]["options"]
    assert {name: option.get("default", "none") for name, option in options.items()} == {
        "sample_port": 80,
        "sample_hosts": [],
        "sample_address": "none",
        "sample_secrets": "none",
    }
    assert options["sample_hosts"]["options"]["name"]["default"] == "kept"
    assert role_docs.write_defaults(written, sample(written)) == written


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (sample(defaults={**DEFAULTS, "sample_more": 1}), "sample_more is in defaults/main.yml and missing in meta/"),
        (sample(defaults={"sample_id": ""}), "sample_port is in meta/argument_specs.yml and missing in defaults/"),
        (sample(sample_secrets={"PASSWORD": "x"}), "sample_secrets may hold a secret, so its default must be empty"),
        (sample(sample_port=Undefined()), "sample_port needs what only a host or an inventory has"),
        (
            sample(defaults={**DEFAULTS, "sample_address": "x"}),
            "sample_address is 'x' on every host. Take 'By default'",
        ),
    ],
)
def test_what_cannot_be_written_is_reported(role: Role, message: str) -> None:
    assert any(message in problem for problem in role_docs.problems(role))


def test_sample_role_has_no_problems() -> None:
    assert list(role_docs.problems(sample())) == []


def test_readme_keeps_its_head_and_lists_tasks_and_variables() -> None:
    readme = role_docs.write_readme("# sample\n\nBy hand.\n", sample())
    assert readme.startswith("# sample\n\nBy hand.\n\n<!-- `make docs`")
    assert "- Writes one file, as the lookup `noslop.studio.studio` says." in readme
    rows = [line for line in readme.splitlines() if line.startswith("| ")]
    assert rows == [
        "|  | File | What it does | Tags |",
        "| 1 | [`write.yml`](tasks/write.yml) | Write the file | `sample` |",
        "| Variable | Type | Default | Meaning |",
        "| `sample_id` | str | required | Id of the studio. |",
        "| `sample_port` | int | `80`, from `sample_port` | Port for `sample_hosts`. |",
        "| `sample_hosts` | list of dict | empty | Hosts, like `a\\|b`. |",
        "| `sample_address` | str | computed | By default that of the host. |",
        "| `sample_secrets` | dict | empty | Passwords. |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("90%", "90%"),
        ("0.32.7", "0.32.7"),
        ("*:0/5", '"*:0/5"'),
        ("true", '"true"'),
        (True, "true"),
        (50, "50"),
        (["a", ""], '[a, ""]'),
        ({"a": 1}, "{a: 1}"),
    ],
)
def test_values_are_written_in_one_line(value: object, text: str) -> None:
    assert role_docs.format_value(value) == text
    assert yaml.safe_load(text) == value


def test_example_plays_of_the_readmes_set_variables_of_their_roles(tmp_path: Path) -> None:
    plays = []
    for role in ROLES:
        head = (role / "README.md").read_text("utf-8").partition(role_docs.MARK)[0]
        (example,) = re.findall(r"^```yaml\n(.*?)^```", head, re.MULTILINE | re.DOTALL)
        plays += yaml.safe_load(example)
        ((name, variables),) = [(entry["role"], entry["vars"]) for entry in plays[-1]["roles"]]
        options = yaml.safe_load((role / role_docs.SPEC).read_text("utf-8"))["argument_specs"]["main"]["options"]
        assert name == f"noslop.studio.{role.name}"
        assert set(variables) <= set(options), name
        assert {option for option, spec in options.items() if spec.get("required")} <= set(variables), name
    (tmp_path / "play.yml").write_text(json.dumps(plays), "utf-8")
    run_ansible("ansible-playbook", "--syntax-check", str(tmp_path / "play.yml"))


def test_ansible_doc_shows_the_defaults() -> None:
    documents = json.loads(
        run_ansible("ansible-doc", "--type", "role", "--json", *(f"noslop.studio.{role.name}" for role in ROLES))
    )
    assert len(documents) == len(ROLES)
    options = documents["noslop.studio.ollama"]["entry_points"]["main"]["options"]
    assert options["ollama_port"]["default"] == 11434
    assert options["ollama_models_dir"]["default"] == "/mnt/noslop/ollama/models"
    documented = [
        "default" in option
        for document in documents.values()
        for option in document["entry_points"]["main"]["options"].values()
    ]
    assert (sum(documented), len(documented)) >= (120, 150)


def test_ansible_accepts_the_defaults_of_every_role(tmp_path: Path) -> None:
    """Check the arguments as Ansible does before each role, with nothing set but the id of the studio."""
    variables: dict[str, Any] = {"noslop_studio_id": "test"}
    tasks = []
    for role in ROLES:
        for part in (role / "defaults/main.yml", role / "vars/main.yml"):
            variables |= yaml.safe_load(part.read_text("utf-8")) if part.exists() else {}
        for point, spec in yaml.safe_load((role / role_docs.SPEC).read_text("utf-8"))["argument_specs"].items():
            arguments = {"argument_spec": spec["options"]} if "options" in spec else {"argument_spec": {}}
            tasks.append({"name": f"{role.name} {point}", "ansible.builtin.validate_argument_spec": arguments})
    play = {"name": "A play", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([{**play, "vars": variables}]), "utf-8")
    output = run_ansible("ansible-playbook", str(tmp_path / "play.yml"))
    assert f"ok={len(tasks)} " in output, output
