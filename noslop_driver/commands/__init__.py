# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command, from its options to its exit code and what `--json` prints: one file a command.

Owns the order of the steps and their messages. May use phases, planning and settings. Never connects to a host itself.
"""

from noslop_driver.commands.deploy import deploy
from noslop_driver.commands.discover import discover
from noslop_driver.commands.plan import plan
from noslop_driver.commands.status import status
from noslop_driver.commands.teardown import teardown
from noslop_driver.commands.verify import verify

COMMANDS = {
    "discover": discover,
    "plan": plan,
    "deploy": deploy,
    "verify": verify,
    "status": status,
    "teardown": teardown,
}
"""Name on the command line to function."""
