# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read a studio as an ordinary Ansible inventory.

Owns the files of the studio directory, studio.yml and its schema. May write below it. Never overwrites a file that a
user has edited.
"""
