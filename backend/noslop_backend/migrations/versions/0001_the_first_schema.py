# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "job",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("folder_path", sa.String(), nullable=False),
        sa.Column("workflows_count", sa.Integer(), nullable=False),
        sa.Column("media_count", sa.Integer(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("intermediate_days", sa.Integer(), nullable=True),
        sa.Column("trash_days", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trashed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('creating', 'present', 'trashed', 'purging')", name=op.f("ck_project_state")),
        sa.CheckConstraint("status IN ('active', 'paused', 'done', 'archived')", name=op.f("ck_project_status")),
        sa.CheckConstraint("intermediate_days >= 1", name=op.f("ck_project_intermediate_days")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("ck_project_name")),
        sa.CheckConstraint("media_count >= 0", name=op.f("ck_project_media_count")),
        sa.CheckConstraint("quota_bytes >= 0", name=op.f("ck_project_quota_bytes")),
        sa.CheckConstraint("reserved_bytes >= 0", name=op.f("ck_project_reserved_bytes")),
        sa.CheckConstraint("trash_days >= 1", name=op.f("ck_project_trash_days")),
        sa.CheckConstraint("used_bytes >= 0", name=op.f("ck_project_used_bytes")),
        sa.CheckConstraint("workflows_count >= 0", name=op.f("ck_project_workflows_count")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("folder_path", name=op.f("uq_project_folder_path")),
    )
    op.create_index(op.f("ix_project_created_at_id"), "project", ["created_at", "id"], unique=False)

    op.create_table(
        "store",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("studio_id", sa.String(), nullable=True),
        sa.Column("share_id", sa.String(), nullable=True),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_store_one_row")),
        sa.CheckConstraint("quota_bytes >= 0", name=op.f("ck_store_quota_bytes")),
        sa.CheckConstraint("reserved_bytes >= 0", name=op.f("ck_store_reserved_bytes")),
        sa.CheckConstraint("used_bytes >= 0", name=op.f("ck_store_used_bytes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scope IN ('read', 'write', 'admin')", name=op.f("ck_token_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("name", name=op.f("uq_token_name")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_token_secret_hash")),
    )
    op.create_table(
        "document",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("versions_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('workflow', 'prompt')", name=op.f("ck_document_kind")),
        sa.CheckConstraint("last_version >= 0", name=op.f("ck_document_last_version")),
        sa.CheckConstraint("versions_count >= 0", name=op.f("ck_document_versions_count")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_document_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("project_id", "kind", "name", name=op.f("uq_document_project_id_kind_name")),
    )
    op.create_table(
        "intent",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("op", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "op IN ('create_project', 'update_project', 'purge_project', 'import_project', 'write', 'adopt', "
            "'promote', 'trash', 'restore', 'purge', 'cleanup')",
            name=op.f("ck_intent_op"),
        ),
        sa.CheckConstraint("state IN ('open', 'done', 'released')", name=op.f("ck_intent_state")),
        sa.CheckConstraint("reserved_bytes >= 0", name=op.f("ck_intent_reserved_bytes")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_intent_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
        sa.UniqueConstraint("scope", "key", name=op.f("uq_intent_scope_key")),
    )
    op.create_index(op.f("ix_intent_project_id"), "intent", ["project_id"], unique=False)
    op.create_index(op.f("ix_intent_state_lease_expires_at"), "intent", ["state", "lease_expires_at"], unique=False)

    op.create_table(
        "observation",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("times_seen", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("times_seen >= 0", name=op.f("ck_observation_times_seen")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_observation_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "path", name=op.f("pk_observation")),
    )
    op.create_table(
        "tally",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("files_count", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("charged_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('workflow', 'prompt', 'image', 'video', 'audio', 'latent', 'mask', 'frame', 'final', 'sidecar')",
            name=op.f("ck_tally_kind"),
        ),
        sa.CheckConstraint("state IN ('present', 'trashed', 'purging', 'missing')", name=op.f("ck_tally_state")),
        sa.CheckConstraint("charged_bytes >= 0", name=op.f("ck_tally_charged_bytes")),
        sa.CheckConstraint("files_count >= 0", name=op.f("ck_tally_files_count")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_tally_size_bytes")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_tally_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "kind", "state", name=op.f("pk_tally")),
    )
    op.create_table(
        "file",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("charged_bytes", sa.BigInteger(), nullable=False),
        sa.Column("blake3", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("document_id", sa.String(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("content_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=True),
        sa.Column("last_sidecar", sa.Integer(), nullable=False),
        sa.Column("of_file_id", sa.String(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("intent_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trashed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(of_file_id IS NOT NULL) = (kind = 'sidecar')", name=op.f("ck_file_sidecar")),
        sa.CheckConstraint(
            "kind IN ('workflow', 'prompt', 'image', 'video', 'audio', 'latent', 'mask', 'frame', 'final', 'sidecar')",
            name=op.f("ck_file_kind"),
        ),
        sa.CheckConstraint("state IN ('present', 'trashed', 'purging', 'missing')", name=op.f("ck_file_state")),
        sa.CheckConstraint("(document_id IS NULL) = (version IS NULL)", name=op.f("ck_file_version")),
        sa.CheckConstraint("charged_bytes >= 0", name=op.f("ck_file_charged_bytes")),
        sa.CheckConstraint("charged_bytes IN (0, size_bytes)", name=op.f("ck_file_charged_once")),
        sa.CheckConstraint("last_sidecar >= 0", name=op.f("ck_file_last_sidecar")),
        sa.CheckConstraint("length(blake3) = 64", name=op.f("ck_file_blake3")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_file_size_bytes")),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name=op.f("fk_file_document_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_file_intent_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["of_file_id"], ["file.id"], name=op.f("fk_file_of_file_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_file_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.UniqueConstraint("document_id", "version", name=op.f("uq_file_document_id_version")),
        sa.UniqueConstraint("project_id", "path", name=op.f("uq_file_project_id_path")),
    )
    op.create_index(op.f("ix_file_content_id"), "file", ["content_id"], unique=False)
    op.create_index(op.f("ix_file_intent_id"), "file", ["intent_id"], unique=False)
    op.create_index(op.f("ix_file_of_file_id"), "file", ["of_file_id"], unique=False)
    op.create_index(
        op.f("ix_file_project_id_state_created_at_id"),
        "file",
        ["project_id", "state", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_file_project_id_state_kind_created_at_id"),
        "file",
        ["project_id", "state", "kind", "created_at", "id"],
        unique=False,
    )

    op.create_table(
        "reference",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("to_file_id", sa.String(), nullable=False),
        sa.Column("from_file_id", sa.String(), nullable=True),
        sa.Column("intent_id", sa.String(), nullable=True),
        sa.CheckConstraint("(from_file_id IS NULL) <> (intent_id IS NULL)", name=op.f("ck_reference_one_source")),
        sa.ForeignKeyConstraint(
            ["from_file_id"], ["file.id"], name=op.f("fk_reference_from_file_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_reference_intent_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["to_file_id"], ["file.id"], name=op.f("fk_reference_to_file_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference")),
        sa.UniqueConstraint("to_file_id", "from_file_id", name=op.f("uq_reference_to_file_id_from_file_id")),
    )
    op.create_index(op.f("ix_reference_from_file_id"), "reference", ["from_file_id"], unique=False)
    op.create_index(op.f("ix_reference_intent_id"), "reference", ["intent_id"], unique=False)


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_index(op.f("ix_reference_intent_id"), table_name="reference")
    op.drop_index(op.f("ix_reference_from_file_id"), table_name="reference")

    op.drop_table("reference")
    op.drop_index(op.f("ix_file_project_id_state_kind_created_at_id"), table_name="file")
    op.drop_index(op.f("ix_file_project_id_state_created_at_id"), table_name="file")
    op.drop_index(op.f("ix_file_of_file_id"), table_name="file")
    op.drop_index(op.f("ix_file_intent_id"), table_name="file")
    op.drop_index(op.f("ix_file_content_id"), table_name="file")

    op.drop_table("file")
    op.drop_table("tally")
    op.drop_table("observation")
    op.drop_index(op.f("ix_intent_state_lease_expires_at"), table_name="intent")
    op.drop_index(op.f("ix_intent_project_id"), table_name="intent")

    op.drop_table("intent")
    op.drop_table("document")
    op.drop_table("token")
    op.drop_table("store")
    op.drop_index(op.f("ix_project_created_at_id"), table_name="project")

    op.drop_table("project")
    op.drop_table("job")
