# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install pip from Python's own ensurepip, then the requested packages from the index that pip is set up with.

ansible-test downloads a get-pip.py from its project's site for this; a network with a package index alone has no such
site. Its arguments are those of get-pip.py.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

if __name__ == "__main__":
    ensurepip.bootstrap()
    # ensurepip sets this for its own pip, which is to read no settings.
    os.environ.pop("PIP_CONFIG_FILE", None)
    packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *packages]))
