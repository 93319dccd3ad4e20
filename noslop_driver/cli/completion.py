# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete names of a studio in a shell. The flags of every command refer to these functions.

What reads a studio is imported by their call: `--help` needs none of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _import_late(name: str) -> Complete:
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        function: Complete = getattr(importlib.import_module("noslop_driver.cli.studio_names"), name)
        return function(context, parameter, incomplete)

    return complete


complete_studio = _import_late("complete_studio")
complete_host = _import_late("complete_host")
complete_model = _import_late("complete_model")
complete_node = _import_late("complete_node")
complete_place = _import_late("complete_place")
