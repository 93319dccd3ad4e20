# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for the settings of a studio at the terminal. The present value is the default of each question."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.choices import PREFIX, PROVIDERS, SERVICES
from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.models import Plan, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.flag_values import PATH_FIELDS, PATH_FLAGS, parse_roles


def ask_storage(settings: StudioSettings, terminal: Terminal, *, given: Collection[str] = ()) -> dict[str, Any]:
    """Ask for the storage settings, except those in `given`.

    Returns:
        The answers that differ from `settings`, under the names of `StudioSettings`.
    """
    answers: dict[str, Any] = {}
    if "storage_root" not in given:
        question = "Where the shared directories lie on every host"
        answers |= _ask_for_path(settings, "storage_root", question, terminal)
    if not set(PATH_FIELDS) & set(given):
        proposed = settings.replace(**answers)
        terminal.print("\n".join(f"  {share.name}: {share.path}" for share in proposed.shares()))
        if not terminal.confirm("Keep these directories?"):
            for name in PATH_FIELDS:
                question = studio_yml.DESCRIPTIONS[PREFIX + name].rstrip(".")
                answers |= _ask_for_path(settings.replace(**answers), name, question, terminal)
    if "storage_provider" not in given:
        question = "How they are shared (nfs: by the storage server; existing: they are already; local: one machine)"
        provider = terminal.choose(question, PROVIDERS, flag="--provider", default=settings.storage_provider)
        answers["storage_provider"] = provider
    for name, question, flag in (
        ("users", "Accounts of people who may write to them", "--share-user"),
        ("allowed_networks", "Other addresses or networks that may use Ollama and ComfyUI", "--allow"),
    ):
        if name not in given:
            answers |= _ask_for_list(settings.replace(**answers), name, question, flag, terminal)
    return answers


def edit_plan(plan: Plan, terminal: Terminal) -> StudioSettings:
    """Ask for the storage server, the services of each host, and the storage settings; return the new settings."""
    names = [host.name for host in plan.hosts]
    settings = plan.settings
    if len(names) > 1:
        server = terminal.choose("Storage server", names, flag="--server", default=plan.server or names[0])
        settings = settings.replace(server=server)
    roles = {proposal.host: proposal.roles for proposal in plan.proposals}
    services = {}
    for name in names:
        present = [role for role in SERVICES if role in roles[name]]
        answer = terminal.ask(
            f"Services of {name} ({', '.join(SERVICES)}, or none)",
            flag=f"--role {name}=...",
            default=", ".join(present) or "none",
            check=_find_role_error,
        )
        services[name] = parse_roles([f"{name}={answer}"])[name]
    settings = settings.replace(roles=services)
    if terminal.confirm("Change the storage settings?", default=False):
        settings = settings.replace(**ask_storage(settings, terminal))
    return settings


def _find_role_error(answer: str) -> str:
    unknown = [name for name in answer.replace(",", " ").split() if name not in (*SERVICES, "none")]
    return f"There is no service {', '.join(unknown)}: {', '.join(SERVICES)}, or none." if unknown else ""


def _ask_for_path(settings: StudioSettings, name: str, question: str, terminal: Terminal) -> dict[str, str]:
    default = getattr(settings, name) or next(
        share.path for share in settings.shares() if studio.PATH_VARIABLES.get(share.name) == PREFIX + name
    )

    def find_error(answer: str) -> str:
        try:
            studio_yml.validate({**settings.model_dump(), name: answer})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(question, flag=PATH_FLAGS.get(name, "--storage-root"), default=default, check=find_error)
    return {} if answer == default else {name: answer}


def _ask_for_list(
    settings: StudioSettings, name: str, question: str, flag: str, terminal: Terminal
) -> dict[str, list[str]]:
    def find_error(answer: str) -> str:
        try:
            studio_yml.validate({**settings.model_dump(), name: _split_words(answer)})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(
        f"{question} (separated by commas, none)",
        flag=flag,
        default=", ".join(getattr(settings, name)) or "none",
        check=find_error,
    )
    return {name: _split_words(answer)}


def _split_words(answer: str) -> list[str]:
    return [word for word in answer.replace(",", " ").split() if word != "none"]
