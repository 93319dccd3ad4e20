# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define what the backend refuses or cannot do: a sentence for the reader, and a code that never changes.

Each message has what was tried, what was observed and what to do. `code` is for programs, `details` are plain values
(bytes, seconds, ids) that an interface may show beside the message.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BackendError(Exception):
    """The root of every error that a caller is meant to see."""

    code: ClassVar[str] = "backend_error"

    def __init__(self, message: str, **details: Any) -> None:  # noqa: ANN401 - details are whatever helps the reader
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class ConfigurationError(BackendError):
    """A setting is wrong; found at start, before anything is served."""

    code = "configuration"


class NewerDatabaseError(ConfigurationError):
    """A newer version of the backend has migrated the database: this one does not know its schema."""

    code = "newer_database"


class InvalidRequestError(BackendError):
    """What was asked for has no meaning: a bad name, a negative size, content that is not what it should be."""

    code = "invalid_request"


class UnsupportedMediaError(InvalidRequestError):
    """The content is not of a type that the layout has a place for, or not of the kind that was named."""

    code = "unsupported_media"


class ContentMismatchError(InvalidRequestError):
    """The bytes that came are not the bytes that were announced (length or BLAKE3)."""

    code = "content_mismatch"


class NotFoundError(BackendError):
    """No such project, file, document, version or reservation."""

    code = "not_found"


class ConflictError(BackendError):
    """What is there does not allow it: another state, another revision, a name that is taken."""

    code = "conflict"


class RevisionConflictError(ConflictError):
    """Another request changed it since it was read."""

    code = "revision_conflict"


class KeyReusedError(ConflictError):
    """The idempotency key was used for another request."""

    code = "key_reused"


class ReferencedError(ConflictError):
    """Something else needs the file."""

    code = "referenced"


class ConfirmationNeededError(ConflictError):
    """A run stopped before it removed too much, or because a clock looks wrong: a person has to say yes."""

    code = "confirmation_needed"


class InProgressError(BackendError):
    """The same request, or another change of the same file, is being worked on: send it again after `retry_after_s`."""

    code = "in_progress"

    def __init__(self, message: str, *, retry_after_s: float, **details: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(message, retry_after_s=retry_after_s, **details)
        self.retry_after_s = retry_after_s


class TooManyRequestsError(BackendError):
    """One address or token asks for too much at once: send it again after `retry_after_s`. Nothing was begun."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(f"{message} Nothing was begun. Send it again a little later.", retry_after_s=retry_after_s)


class LeaseLostError(BackendError):
    """The write took so long that another process undid it. Nothing was published: send it again."""

    code = "lease_lost"


class ContentChangedError(ConflictError):
    """A file changed while it was being adopted."""

    code = "content_changed"


class UnsafePathError(ConflictError):
    """Something that the backend did not make lies where a file or directory of the layout should be."""

    code = "unsafe_path"


class QuotaExceededError(BackendError):
    """The project or the store has no room for this. Nothing was written."""

    code = "quota_exceeded"

    def __init__(self, message: str, *, scope: str, used_bytes: int, asked_bytes: int, free_bytes: int) -> None:
        super().__init__(message, scope=scope, used_bytes=used_bytes, asked_bytes=asked_bytes, free_bytes=free_bytes)
        self.scope = scope
        self.used_bytes = used_bytes
        self.asked_bytes = asked_bytes
        self.free_bytes = free_bytes


class StorageFullError(BackendError):
    """The disk below the share is full (ENOSPC), whatever the quotas say. Nothing was published."""

    code = "storage_full"

    def __init__(self, message: str, *, used_bytes: int, asked_bytes: int, free_bytes: int) -> None:
        super().__init__(message, used_bytes=used_bytes, asked_bytes=asked_bytes, free_bytes=free_bytes)


class ShareUnavailableError(BackendError):
    """The share is not mounted, is another one, or does not answer. Nothing was written."""

    code = "share_unavailable"


class DatabaseUnavailableError(BackendError):
    """The database does not answer, or stayed locked."""

    code = "database_unavailable"


class InspectionUnfinishedError(BackendError):
    """The texts of a new file could not be read in time, so files that they name were not kept. Nothing was saved."""

    code = "inspection_unfinished"


class ComfyUnavailableError(BackendError):
    """ComfyUI on a host of the studio cannot be reached, or does not answer to the end."""

    code = "comfyui_unavailable"


class ComfyAnswerError(BackendError):
    """What ComfyUI on a host of the studio answered cannot be used."""

    code = "comfyui_answer"
