# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which version of a service this host runs."""

from __future__ import annotations

import os
import re

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.services import unit_text
from ansible_collections.noslop.studio.plugins.module_utils.services.web_unit import UNITS

#: The end of a directory of the backend: the checksum of its wheel.
_CHECKSUM = re.compile(r"-[0-9a-f]{12}$")


def read_version(service: str, units: str = UNITS, programs: str = studio.PROGRAMS_DIR) -> str:
    """Return the version that the unit file of a service names, or an empty string where it is not installed."""
    text = state.read_text(os.path.join(units, studio.SERVICES[service].unit))
    version = unit_text.find_version(text, os.path.join(programs, service))
    return _CHECKSUM.sub("", version) if service == "backend" else version
