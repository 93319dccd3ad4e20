# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m noslop_backend.cli`: the same as `noslop-backend`."""

from noslop_backend.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
