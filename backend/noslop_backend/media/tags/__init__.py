# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read texts that programs wrote into files, and make fields of them that are the same whatever program it was.

ComfyUI writes `prompt` and `workflow` (JSON) into most containers, others `parameters` and more: `docs/formats.md` has
the table. Containers are read in the confined child (`media.probe`); here is what their texts mean.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, BinaryIO

from noslop_backend.core import json_depth
from noslop_backend.media.tags.limits import LIMIT_BYTES

__all__ = ["LEFT_OUT", "LIMIT_BYTES", "parse", "read"]

#: The key of a sidecar's `embedded` that names the texts which are not in it.
LEFT_OUT = "noslop.left_out"


def read(stream: BinaryIO, content_type: str) -> dict[str, Any]:
    """Return the texts that are embedded in a file, by their keys; JSON among them is parsed.

    What is left out of them is named below `LEFT_OUT`, where there is any.
    """
    from noslop_backend.media import probe  # noqa: PLC0415 - `probe` uses the readers of this package

    inspection = probe.inspect(stream, content_type)
    texts = {key: parse(text) for key, text in inspection.texts.items()}
    return texts | ({LEFT_OUT: [asdict(one) for one in inspection.left_out]} if inspection.left_out else {})


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
