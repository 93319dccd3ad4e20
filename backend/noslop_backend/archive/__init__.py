# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export a project to an archive with checksums, import it into another studio, and send files of it as a zip.

May touch: services and what is below. Never: HTTP.
"""

from __future__ import annotations

from noslop_backend.archive.exporting import ExportReport, export, export_to
from noslop_backend.archive.importing import ImportReport, import_from
from noslop_backend.archive.tar import ArchiveError

__all__ = ["ArchiveError", "ExportReport", "ImportReport", "export", "export_to", "import_from"]
