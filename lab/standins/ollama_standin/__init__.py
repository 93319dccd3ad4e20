# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for the `ollama` program: the lab's studio installs and runs it in place of the vendor's.

It has the models directory, the HTTP interface, the command line, the environment variables and the exit behaviour
that NoSlop depends on, including the harmful parts (it prunes at start; two daemons that pull one model share a
partial file). It runs no model: `generate` reads the model's file and answers one fixed sentence. Standard library
only, Python 3.9 or newer; lab/standins/README.md lists what is left out.
"""
