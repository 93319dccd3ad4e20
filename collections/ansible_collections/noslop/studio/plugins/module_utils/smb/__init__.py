# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the shares for Windows and macOS, and read Samba's configuration, passwords and answers.

Owns the text formats of testparm(1) and pdbedit(8). Touches no share, runs no program, and never returns a hash of a
password to a caller that prints it.
"""
