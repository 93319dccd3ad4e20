# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read texts that programs wrote into files, and make fields of them that are the same whatever program it was.

ComfyUI writes `prompt` and `workflow` (JSON) into most containers, others `parameters` and more: `docs/formats.md` has
the table. Containers are read in the confined child (`media.probe`); here is what their texts mean.
"""

from __future__ import annotations

import json
from typing import Any

from noslop_backend.core import json_depth
from noslop_backend.media.tags.limits import LIMIT_BYTES

__all__ = ["LEFT_OUT", "LIMIT_BYTES", "parse"]

#: The key of a sidecar's `embedded` that names the texts which are not in it.
LEFT_OUT = "noslop.left_out"


def parse(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON as its value, unless it could not be written again as what it was: then it stays a text."""
    if text[:1] not in {"{", "["}:
        return text
    try:
        value = json_depth.loads(text)
        if json_depth.is_too_deep(value):
            return text
        json.dumps(value, allow_nan=False)
    except ValueError:
        return text
    return value
