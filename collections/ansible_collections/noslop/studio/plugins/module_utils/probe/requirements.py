# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define what a studio asks of a file system, and what follows where it is missing. Pure: touches nothing.

What a studio needs is a check that fails without it. What it can do without is a note that says what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds after which another host sees a new file: what is refused, and what a person would notice.
REFUSED_DELAY_S = 60.0
NOTICED_DELAY_S = 5.0
#: Verification compares the same clocks (``checks.storage_checks``).
CLOCK_TOLERANCE_S = 5.0
NOTICED_CLOCK_S = 1.0
MILLISECOND_NS = 1_000_000
#: Below this, a page of thumbnails or a clone of a repository takes minutes, and a checkpoint of 6 GB ten minutes.
SLOW_FILES_S = 20.0
SLOW_BYTES_S = 10_000_000.0

CHOOSE = "choose another file system or other options of its mount, then run this again"


@dataclass(frozen=True)
class Place:
    """One file system of a studio, by the share in which it was probed, and the account that owns that share."""

    share: str
    path: str
    owner: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Requirement:
    """A feature: its check, its name, and what follows where it is missing. A studio can do without it or not."""

    feature: str
    check: str
    what: str
    without: str
    required: bool


#: In the order of the report.
REQUIREMENTS = (
    Requirement(
        "exclusive",
        "probe.exclusive",
        "a name can be made once only (O_EXCL)",
        "two hosts would write to one file",
        required=True,
    ),
    Requirement(
        "replace",
        "probe.replace",
        "a rename replaces a file in one step",
        "readers would get half of a project's metadata",
        required=True,
    ),
    Requirement(
        "sync", "probe.sync", "fsync works on files and directories", "a crash loses what was saved", required=True
    ),
    Requirement("mapped", "probe.mapped", "files can be mapped into memory", "no model can be loaded", required=True),
    Requirement(
        "hard_links",
        "probe.hard_links",
        "hard links",
        "finals are copies, which count in the quota; files are not moved to another project, and those that a worker "
        "wrote are not adopted; equal models are not joined",
        required=False,
    ),
    Requirement(
        "link_count",
        "probe.link_count",
        "names of one file are counted",
        "a save whose answer is lost on the network ends with an error, and has to be sent again; equal models are not "
        "recognised as joined",
        required=False,
    ),
    Requirement(
        "symlinks",
        "probe.symlinks",
        "symbolic links",
        "custom nodes and repositories that contain them cannot be installed",
        required=False,
    ),
    Requirement(
        "case",
        "probe.case",
        "names differ by case",
        "of two files whose names differ by case only, the second is refused",
        required=False,
    ),
    Requirement(
        "long_names",
        "probe.long_names",
        "names of 255 bytes",
        "files with longer names are refused",
        required=False,
    ),
    Requirement(
        "unicode_names",
        "probe.unicode",
        "names with characters of four bytes",
        "files with such names, as people and models have them, are refused",
        required=False,
    ),
    Requirement(
        "normal_forms",
        "probe.normal_forms",
        "both forms of a letter with an accent (NFC, NFD) stay apart",
        "a file that a Mac names may have another name on the share, and reconcile reports it as missing and as new",
        required=False,
    ),
    Requirement(
        "characters",
        "probe.characters",
        'names with : ? * " < > | \\',
        "models and workflows with such names are refused",
        required=False,
    ),
    Requirement(
        "modes",
        "probe.modes",
        "each file has the mode that it is given",
        "the mount decides who may write, not the file: check its options",
        required=False,
    ),
)


def format_seconds(seconds: float) -> str:
    """Return a time as text, in milliseconds or seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
