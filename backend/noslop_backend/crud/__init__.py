# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every SQL statement. One class a concern, made for one session; none commits."""

from .documents import DocumentCRUD
from .files import FileCRUD
from .intents import IntentCRUD
from .jobs import RETENTION, JobCRUD
from .pages import Cursor
from .projects import ProjectCRUD
from .references import ReferenceCRUD
from .store import StoreCRUD
from .tallies import Change, TallyCRUD

__all__ = [
    "RETENTION",
    "Change",
    "Cursor",
    "DocumentCRUD",
    "FileCRUD",
    "IntentCRUD",
    "JobCRUD",
    "ProjectCRUD",
    "ReferenceCRUD",
    "StoreCRUD",
    "TallyCRUD",
]
