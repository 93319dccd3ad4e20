# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read workflows of ComfyUI, and find out which models and node classes each needs.

Owns the formats of workflows and the official templates. May read the files of the templates' package. Asks no host and
no server.
"""
