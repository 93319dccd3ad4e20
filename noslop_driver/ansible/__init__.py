# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible, and end the tasks that an interrupted run left on hosts.

Owns ansible-runner, its events and its passwords. May start processes. Never prints anything.
"""
