# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every SQL statement. One class a concern, made for one session; none commits."""

from noslop_backend.repositories.counters import Change, CounterRepository
from noslop_backend.repositories.documents import DocumentRepository
from noslop_backend.repositories.files import FileRepository
from noslop_backend.repositories.intents import IntentRepository
from noslop_backend.repositories.jobs import RETENTION, JobRepository
from noslop_backend.repositories.pages import Cursor
from noslop_backend.repositories.projects import ProjectRepository
from noslop_backend.repositories.references import ReferenceRepository
from noslop_backend.repositories.search import SearchRepository
from noslop_backend.repositories.store import StoreRepository

__all__ = [
    "RETENTION",
    "Change",
    "CounterRepository",
    "Cursor",
    "DocumentRepository",
    "FileRepository",
    "IntentRepository",
    "JobRepository",
    "ProjectRepository",
    "ReferenceRepository",
    "SearchRepository",
    "StoreRepository",
]
