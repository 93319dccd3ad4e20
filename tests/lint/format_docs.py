# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/formats.md: who writes what into files, and what is read of it, from the table of the tests.

python tests/lint/format_docs.py            (make docs)
python tests/lint/format_docs.py --check    reports whether it is stale, and changes nothing
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/formats.md"
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.backend.samples import SAMPLES, Sample  # noqa: E402 - found on the path from above

_HEAD = """# What programs write into files, and what is read of it

`make docs` writes this page from the table that the tests read: for each row a file is made by the library that the
program uses, and read back (`tests/backend/samples.py`, `test_embedded.py`). The key is where the text stands in
`embedded` of a file's metadata; `prompt`, `workflow` and so on are the program's own. A text that is JSON is parsed. A
second text of one key is numbered (`prompt#2`). Names of files in any of these texts are references.

"""
_TAIL = """
Of EXIF also DocumentName, ImageDescription, Software, Artist, Copyright and Windows' XP tags are read, by those names;
of a text `name:{...}` in one of the first, as ComfyUI writes them, the name is the key. Tags of video and audio have
their names in small letters; those that FFmpeg makes of the container itself (`major_brand`, `handler_name`, `language`
and the like) are left out. HEIC, HEIF and EXR have no texts that are read.
"""


def _key(sample: Sample) -> str:
    return f"`{sample.key('prompt')}`" if sample.is_joined else "the program's"


def page() -> str:
    """Return the page as it is to be."""
    rows = sorted(
        (sample.container, sample.place, sample.writer, sample.content_type, _key(sample)) for sample in SAMPLES
    )
    lines = ["| file | place | written by | type | key |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def main(check: bool) -> int:
    """Write the page, or report that it is stale. Return 1 where something is left to do."""
    wanted = page()
    if PAGE.exists() and PAGE.read_text("utf-8") == wanted:
        return 0
    if check:
        print(f"{PAGE.relative_to(ROOT)} is stale: run `make docs`.")
        return 1
    PAGE.write_text(wanted, "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
