# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find hosts, plan a studio, write its inventory and run the collection's playbooks."""

__version__ = "0.1.0"
