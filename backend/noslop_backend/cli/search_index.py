# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the search's index anew."""

from __future__ import annotations

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment
from noslop_backend.maintenance.search_index import rebuild_search as make_anew


@click.command()
@json_option
@pass_environment
def rebuild_search(environment: Environment) -> None:
    """Make the search's index anew, with the texts of prompts from the share. The service may go on meanwhile."""
    with environment.storage() as storage:
        count = make_anew(storage)
    environment.emit({"files_count": count}, f"{count} files can be found again.")
