# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the warm models of the catalogue into the memory of their hosts, and show what is there."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.commands.models import state as model_state
from noslop_driver.commands.models.result import ModelWarmData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import UsageError
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import STUDIO, Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import WARM


def warm_models(
    studio: StudioDirectory,
    members: Sequence[Member],
    chosen: Sequence[catalogue.Model],
    *,
    login: Login,
    names: Sequence[str],
    terminal: Terminal,
) -> CommandResult:
    """Run the task that reads models on each host, and print what is in memory then.

    Args:
        studio: the directory of the studio.
        members: its hosts.
        chosen: the models of the catalogue with these names.
        login: the passwords and the account.
        names: the names that the user gave; none for all.
        terminal: where progress and results are printed.

    Raises:
        UsageError: no host is to keep one of them in memory.
    """
    warm = [model.name for model in chosen if model_state.list_warm_hosts(model, members)]
    if not warm:
        what = ", ".join(names) + " is" if names else "No model of the catalogue is"
        raise UsageError(
            f"{what} {'not ' if names else ''}to be in the memory of a host. Write warm: true, or warm: "
            f"[HOST, ...], into its entry in {catalogue.VARIABLE}, in {studio.path / STUDIO}."
        )
    variables = {"model_jobs_names": warm} if names else {}
    login = ask_secrets(studio, login, terminal)
    result, run_data = run_models("models warm", WARM, studio, login, terminal, variables=variables)
    rows = model_state.save_warm(studio, result.warm)
    for row in rows:
        terminal.print(f"  {model_state.format_warm(row)}")
    data: ModelWarmData = {**run_data, "warm": rows}
    return CommandResult(result.code, data, result.message)
