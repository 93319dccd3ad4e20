# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve projects: owns `ProjectStorage`, the one service. Everything that changes a project's files goes through it.

May touch: operations and what is below them. Never: HTTP, SQL of its own.

Methods are synchronous, take ids and plain values, and give the models of `noslop_backend.models`. Each may raise,
beside what it names:

- `NotFoundError`: there is no such project, file or document (or it is not in a state in which this is possible);
- `InvalidRequestError`: an argument has no meaning;
- `ShareUnavailableError`, `StorageFullError`, `DatabaseUnavailableError`: try again later.

Those that take a `key` (idempotency) give the same answer when they are called again with the same key and arguments,
however the first call ended; they raise `KeyReusedError` when the arguments differ, `InProgressError` while the first
is at work, and `LeaseLostError` when it took so long that another process undid it (then nothing was published: send it
again).
"""

from __future__ import annotations

from typing import Self

from noslop_backend.core.settings import Settings
from noslop_backend.journal import recovery
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.journal import Journal
from noslop_backend.operations import RECOVER
from noslop_backend.schemas import RecoveryReport
from noslop_backend.services.adoptions import Adoptions
from noslop_backend.services.documents import Documents
from noslop_backend.services.media import Media
from noslop_backend.services.projects import Projects
from noslop_backend.services.queries import OpenFile, Queries
from noslop_backend.services.search import Search
from noslop_backend.services.transfers import Transfers
from noslop_backend.services.trash import Trash
from noslop_backend.services.upload_session import Staged, Upload
from noslop_backend.services.upload_steps import Steps

__all__ = ["OpenFile", "ProjectStorage", "Staged", "Steps", "StorageContext", "Upload"]


class ProjectStorage:
    """Every project's files. Made with `ProjectStorage.open(settings)`; safe to use from several threads.

    Its methods are those of its parts, which share one journal.
    """

    new_id = staticmethod(StorageContext.new_id)

    def __init__(self, context: StorageContext, journal: Journal | None = None) -> None:
        self.context = context
        self.settings, self.database, self.tree = context.settings, context.database, context.tree
        self.litter, self.caught_up = context.litter, context.caught_up
        self.share, self.start, self.close = context.share, context.start, context.close
        self.journal = journal or Journal(context, RECOVER)

        projects = self.projects = Projects(self.journal)
        self.create_project_structure = projects.create_project_structure
        self.get_project = projects.get_project
        self.list_projects = projects.list_projects
        self.update_project_metadata = projects.update_project_metadata
        self.set_store_quota = projects.set_store_quota
        self.trash_project = projects.trash_project
        self.restore_project = projects.restore_project
        self.purge_project = projects.purge_project

        documents = self.documents = Documents(self.journal)
        self.save_version, self.get_version = documents.save_version, documents.get_version
        self.save_workflow, self.load_workflow = documents.save_workflow, documents.load_workflow
        self.save_prompt, self.load_prompt = documents.save_prompt, documents.load_prompt
        self.list_versions = documents.list_versions
        self.list_documents, self.get_document = documents.list_documents, documents.get_document
        self.rename_document = documents.rename_document

        media = self.media = Media(self.journal)
        self.save_generated_media = media.save_generated_media
        self.begin_generated_media = media.begin_generated_media
        self.save_intermediate, self.begin_intermediate = media.save_intermediate, media.begin_intermediate
        self.promote_to_final, self.save_metadata = media.promote_to_final, media.save_metadata
        self.update_file = media.update_file
        self.record_inspection = media.record_inspection
        self.claim_key = media.claim_key

        adoptions = self.adoptions = Adoptions(self.journal)
        self.reserve_adoption = adoptions.reserve_adoption
        self.renew_adoption = adoptions.renew_adoption
        self.adopt = adoptions.adopt
        self.release_adoption = adoptions.release_adoption

        trash = self.removals = Trash(self.journal)
        self.trash = trash.trash
        self.restore = trash.restore
        self.purge = trash.purge
        self.cleanup_intermediate = trash.cleanup_intermediate
        self.move_files = Transfers(self.journal).move_files

        queries = self.queries = Queries(context)
        self.get_project_files = queries.get_project_files
        self.get_file = queries.get_file
        self.trace_document = queries.trace_document
        self.get_inputs = queries.get_inputs
        self.open_file = queries.open_file
        self.load_metadata = queries.load_metadata
        self.get_storage_stats = queries.get_storage_stats
        self.get_store_stats = queries.get_store_stats

        self.search_files = Search(context).search_files

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database (which must be migrated) and the share, without touching either.

        Raises:
            ConfigurationError: the database lies on a network file system, or its address is not understood.
        """
        return cls(StorageContext.open(settings))

    def recover(self, *, project_id: str | None = None, limit: int = 1000) -> RecoveryReport:
        """Finish or release up to `limit` intents whose lease has run out, and clean `.staging`."""
        return recovery.recover(self.journal, project_id=project_id, limit=limit)
