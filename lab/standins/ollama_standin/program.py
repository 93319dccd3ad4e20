#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the stand-in as `bin/ollama` of its archive. Like the original it needs `../lib/ollama`."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True  # running the program must not change the installed tree
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib" / "ollama"))

from ollama_standin.cli import main  # noqa: E402 (the path comes first)

sys.exit(main(sys.argv[1:]))
