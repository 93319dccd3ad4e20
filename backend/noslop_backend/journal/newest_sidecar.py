# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the row of a file and its newest sidecar the same.

Owns: which sidecar is the newest, and what of it stands in the row: labels, parameters, facts, fields, and so what the
search looks through. A write, recovery, rebuild, reconcile and catching up all do it here. Never: writes on the share.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from sqlmodel import Session

from noslop_backend.core.errors import ConflictError
from noslop_backend.journal import sidecar
from noslop_backend.journal.file_row import location
from noslop_backend.journal.sidecar import Sidecar
from noslop_backend.media.facts import facts_to_json, fields_to_json, read_facts, read_fields
from noslop_backend.models import FileModel
from noslop_backend.repositories import ReferenceRepository, SearchRepository
from noslop_backend.schemas import FileLabels
from noslop_backend.share import Share, layout


def read_sidecar(share: Share, project_id: str, path: str) -> Sidecar | str:
    """Read a sidecar, or return why it is none: the end of a sentence about its file.

    Raises:
        ShareUnavailableError: the share cannot be read.
    """
    try:
        content = Sidecar.from_bytes(share.read(project_id, path, sidecar.LIMIT_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"its sidecar is not readable ({'.'.join(str(part) for part in first['loc'])}: {first['msg']})"
    except FileNotFoundError:
        return "it has no sidecar"
    except (ValueError, RecursionError) as error:
        return f"its sidecar is no JSON ({error})"
    except ConflictError as error:
        return f"its sidecar is not readable ({error.message})"
    if problem := sidecar.check_format(content.noslop):
        return f"its sidecar {problem}"
    return content


def read_newest(share: Share, row: FileModel, last: int) -> Sidecar | None:
    """Read the newest sidecar of a file that is readable and about it; None where there is none.

    Args:
        share: the share.
        row: the file, in the trash or not.
        last: the highest number to look for. A number that has no sidecar is a gap.
    """
    for number in range(last, 0, -1):
        content = read_sidecar(share, row.project_id, layout.sidecar(location(row), number))
        if not isinstance(content, str) and content.file.id == row.id:
            return content
    return None


def revision_of(row: FileModel) -> int:
    """Return which sidecar of its file this row is; the first is 1."""
    parsed = layout.parse(row.path)
    return parsed.revision if parsed else 0


def labels_of(row: FileModel) -> FileLabels:
    """Return the labels of a row."""
    return FileLabels.model_construct(name=row.name, tags=list(row.tags), rating=row.rating)


def apply_labels(session: Session, row: FileModel, labels: FileLabels, texts: Mapping[str, str]) -> None:
    """Write labels into a row, and what it is found by.

    Args:
        session: of the transaction that changes the file.
        row: the file, of this session.
        labels: the labels.
        texts: contents that the search looks through, by id.
    """
    row.name, row.tags, row.rating = labels.name, list(labels.tags), labels.rating
    session.add(row)
    session.flush()
    SearchRepository(session).replace([row], texts)


def apply_sidecar(session: Session, row: FileModel, newest: Sidecar, texts: Mapping[str, str]) -> None:
    """Bring a row up to the newest sidecar of its file, without its references.

    Args:
        session: of the transaction that changes the file.
        row: the file, of this session.
        newest: the sidecar.
        texts: contents that the search looks through, by id.
    """
    row.parameters = sidecar.keep_origin(row.parameters, newest.parameters)
    # A version of the backend that keeps none may have written it.
    row.facts = facts_to_json(read_facts(newest.facts)) or row.facts
    row.fields = fields_to_json(read_fields(newest.fields)) or row.fields
    apply_labels(session, row, newest.labels, texts)


def apply_with_references(session: Session, row: FileModel, newest: Sidecar, texts: Mapping[str, str]) -> None:
    """Bring a row and its references up to the newest sidecar of its file. A reference that was made stays."""
    apply_sidecar(session, row, newest, texts)
    references = ReferenceRepository(session)
    references.add(row.project_id, row.id, newest.needs() - references.inputs(row.id))
