# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose who does what, and write it as an inventory with `--save`."""

from __future__ import annotations

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.result import Answer
from noslop_driver.errors import ExitCode
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import proposal, view


def plan(options: Options, terminal: Terminal) -> Answer:
    """Look at the hosts and propose who does what; with `--save`, write it as an inventory."""
    save = options.save
    with open_session(options, terminal, must_exist=False) as session:
        proposed = proposal.propose(session)
        view.show(proposed.plan, terminal)
        agreed = proposed.plan
        if save and terminal.interactive:
            agreed = proposal.agree(proposed, session, f"Write this to {session.studio.path}?")
        data = {"plan": agreed.model_dump(mode="json"), "inventory": str(session.studio.path) if save else None}
        if error := proposal.obstacle(agreed):
            return Answer(error.code, data, str(error))
        if save:
            proposal.write(session.studio, agreed, proposed.survey, session)
    return Answer(ExitCode.OK, data)
