# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and ids that somebody types who wants to be elsewhere: over a thousand, all different."""

from __future__ import annotations

import itertools
import urllib.parse
from functools import cache

_STEPS = [
    *("..", ".", "...", "..;", ". .", ".. ", " ..", "..\0", "\0..", "..\n", "..\t", "\u2024\u2024", "\uff0e\uff0e"),
    *(
        "%2e%2e",
        "%252e%252e",
        "%c0%ae%c0%ae",
        "..%00",
        "\u002e\u002e",
        "\u202e..",
        "..\u200b",
        "..\ufeff",
        "~",
        "~root",
    ),
    *("..\ud800", "\u0130..", "..\u0338"),
]
_SLASHES = [
    *(
        "/",
        "\\",
        "//",
        "/./",
        "\\\\",
        "%2f",
        "%5c",
        "%252f",
        "%c0%af",
        "\u2215",
        "\u2044",
        "\uff0f",
        "\uff3c",
        "\u29f8",
    ),
    *(":", "\0/", "/\0", "\r\n", "\n"),
]
_TARGETS = ["etc/passwd", "metadata.json", ".noslop-share"]
_WINDOWS = [
    *(
        "con",
        "CON",
        "con.png",
        "prn",
        "aux.txt",
        "nul",
        "NUL.json",
        "com1",
        "COM9.mp4",
        "lpt1",
        "LPT¹",
        "conin$",
        "clock$",
    ),
    *(
        "C:\\x",
        "C:x",
        "\\\\host\\share",
        "\\\\?\\C:\\x",
        "\\\\.\\pipe\\x",
        "a:stream",
        "a.png:$DATA",
        "a.png.",
        "a.png ",
    ),
    *("aux", "x.", "x ", "x" * 255 + ".png"),
]
_LONG = ["a" * length for length in (201, 255, 256, 4096, 70_000)] + [
    "é" * 200,
    "👩‍🎨" * 120,
    "../" * 1500,
    "a/" * 3000,
]
_ODD = [
    *(
        "",
        " ",
        "\0",
        "\n",
        "\ud800",
        "\udfff",
        "\u202e",
        "\u2028",
        "\ufffe",
        "-rf",
        "--",
        "-",
        "$(id)",
        "`id`",
        "a;b",
        "a|b",
    ),
    *(
        "a'b",
        'a"b',
        "a&b",
        "%n",
        "%s",
        "{0}",
        "{{x}}",
        "<b>",
        "../",
        "./",
        "/",
        "\\",
        "a\0.png",
        "*",
        "?",
        "[a]",
        "a\tb",
    ),
    *(
        ".staging",
        ".trash",
        ".noslop-share",
        "metadata.json",
        ".",
        "..",
        "workflows/../..",
        "x' OR 1=1 --",
        "\u0131",
        "ß",
        "ﬁ",
    ),
    *(
        ".nfs0000000000000001",
        "\u0000",
        "A\u030a",
        "\u212b",
        "\u0430dmin",
        "\uff41",
        "\x7f",
        "\x1b[2J",
        "x\u0085y",
        "NaN",
        "null",
    ),
    *("a" * 12, "0" * 14, "O" * 13, "i" * 13, "L" * 13, "u" * 13, "-" * 13, "a-film-1234567", "A-film-12345678"),
    *("a--b-12345678", "-a-12345678", "a-12345678/", "a-12345678\n", "a-1234567l", "a_b-12345678", ".a-12345678"),
]


@cache
def hostile_names() -> list[str]:
    """All of them."""
    walks = (
        step + slash + rest
        for step, slash, (rest, depth) in itertools.product(
            _STEPS, _SLASHES, [*((target, 0) for target in _TARGETS), ("x", 1)]
        )
        if not depth or slash in {"/", "\\"}
    )
    deep = [(step + slash) * 8 + "etc/shadow" for step in _STEPS for slash in _SLASHES[:4]]
    rooted = ["/" + name for name in ("etc/passwd", "proc/self/mem", "dev/sda", "")] + ["//etc/passwd", "file:///etc/x"]
    quoted = [urllib.parse.quote(name, safe="", errors="surrogatepass") for name in (*_WINDOWS, *_ODD[:60])]
    return list(dict.fromkeys([*walks, *deep, *rooted, *_WINDOWS, *_LONG, *_ODD, *quoted]))
