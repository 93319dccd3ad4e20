# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project goes out of one studio and into another, whole."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from noslop_backend.archive import export, export_to, import_from
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import ConflictError, NotFoundError, QuotaExceededError, ShareUnavailableError
from noslop_backend.maintenance import rebuild
from noslop_backend.schemas import ProjectCreate, ProjectUpdate
from noslop_backend.share import hidden_dirs

from tests.backend.filled import facts, fill
from tests.backend.studio import Studio, make_studio


@pytest.fixture
def other(new_database: Callable[[], str], place: Path) -> Iterator[Studio]:
    """Another studio, with a share and a database of its own."""
    directory = place / "other"
    directory.mkdir()
    made = make_studio(directory, new_database())
    yield made
    made.close()


def archive_of(studio: Studio, project_id: str) -> io.BytesIO:
    stream = io.BytesIO()
    export(studio.storage, project_id, stream)
    stream.seek(0)
    return stream


def projects_of(studio: Studio) -> list[str]:
    return [each.id for each in studio.storage.list_projects().items]


def assert_nothing_came(studio: Studio) -> None:
    """No project, no row, no byte reserved, and nothing on the share."""
    assert [path for path in studio.root.rglob("*") if path.name not in {".noslop-share", hidden_dirs.IMPORTS}] == []
    assert all(studio.storage.list_projects(state=state).items == [] for state in ProjectState)
    stats = studio.storage.get_store_stats()
    assert (stats.used_bytes, stats.reserved_bytes) == (0, 0)
    assert studio.open_intents() == []


def test_out_of_one_studio_into_another_and_rebuilt(
    studio: Studio, other: Studio, new_database: Callable[[], str], tmp_path: Path
) -> None:
    filled = fill(studio.storage)
    target = tmp_path / "a film.noslop.tar"
    exported = export_to(studio.storage, filled.project_id, target)
    assert (exported.archive_bytes, exported.left_out_count) == (target.stat().st_size, 0)
    with target.open("rb") as stream:
        imported = import_from(other.storage, stream)
    assert (imported.project.id, imported.renamed_count) == (filled.project_id, 0)
    before = facts(studio, filled.project_id)
    assert facts(other, filled.project_id) == before
    other.check(filled.project_id)
    # And then its database is lost.
    fresh = Studio(other.root, new_database(), other.share_id)
    assert rebuild.rebuild(fresh.storage, verify=True).problems == {}
    assert facts(fresh, filled.project_id, rebuilt=True) == facts(studio, filled.project_id, rebuilt=True)
    fresh.check(filled.project_id)
    fresh.close()


def test_a_tar_of_anybody_reads_it(studio: Studio) -> None:
    filled = fill(studio.storage)
    with tarfile.open(fileobj=archive_of(studio, filled.project_id)) as archive:
        names = archive.getnames()
        assert names[:2] == ["manifest.jsonl", "manifest.blake3"]
        manifest, said = (archive.extractfile(name) for name in names[:2])
        assert manifest is not None
        assert said is not None
        assert said.read().split()[0].decode() == blake3(manifest.read()).hexdigest()
        member = archive.extractfile(f"files/{filled.image.path}")
        assert member is not None
        assert blake3(member.read()).hexdigest() == filled.image.blake3
    assert len(names) == len(set(names))


def test_a_second_import_gets_ids_of_its_own(studio: Studio, new_database: Callable[[], str]) -> None:
    filled = fill(studio.storage)
    imported = import_from(studio.storage, archive_of(studio, filled.project_id))
    copy = imported.project.id
    assert copy != filled.project_id
    assert copy.rpartition("-")[0] == filled.project_id.rpartition("-")[0]
    studio.check(filled.project_id)
    studio.check(copy)
    one, two = facts(studio, filled.project_id), facts(studio, copy)
    assert not one["files"].keys() & two["files"].keys()
    assert len(one["references"]) == len(two["references"])
    contents = [sorted(body for path, body in each["tree"].items() if ".meta." not in path) for each in (one, two)]
    assert contents[0] == contents[1]
    # What the sidecars of the copy say is what its rows say: it can be rebuilt as well.
    fresh = Studio(studio.root, new_database(), studio.share_id)
    assert rebuild.rebuild(fresh.storage, verify=True).problems == {}
    assert facts(fresh, copy, rebuilt=True) == facts(studio, copy, rebuilt=True)
    fresh.close()


def test_only_ids_that_clash_are_new(studio: Studio, other: Studio) -> None:
    filled = fill(studio.storage)
    archive = archive_of(studio, filled.project_id)
    import_from(other.storage, archive)
    other.storage.trash_project(filled.project_id)
    other.storage.purge_project(filled.project_id)
    archive.seek(0)
    assert import_from(other.storage, archive).renamed_count == 0
    other.check(filled.project_id)


def test_quota_is_asked_before_a_byte_flows(studio: Studio, other: Studio) -> None:
    filled = fill(studio.storage)
    archive = archive_of(studio, filled.project_id)
    other.storage.set_store_quota(1000)
    with pytest.raises(QuotaExceededError) as caught:
        import_from(other.storage, archive)
    assert caught.value.scope == "store"
    assert_nothing_came(other)


def test_a_project_larger_than_its_quota_is_refused(studio: Studio, other: Studio) -> None:
    filled = fill(studio.storage)
    studio.storage.update_project_metadata(filled.project_id, ProjectUpdate(quota_bytes=100))
    with pytest.raises(QuotaExceededError) as caught:
        import_from(other.storage, archive_of(studio, filled.project_id))
    assert caught.value.scope == "project"
    assert_nothing_came(other)


def test_an_altered_file_is_not_exported(studio: Studio, tmp_path: Path) -> None:
    filled = fill(studio.storage)
    path = studio.root / filled.project_id / filled.image.path
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConflictError, match="is not what was saved"):
        export_to(studio.storage, filled.project_id, tmp_path / "x.tar")
    path.write_bytes(content + b"more")
    with pytest.raises(ConflictError, match="another size"):
        export_to(studio.storage, filled.project_id, tmp_path / "x.tar")
    path.unlink()
    with pytest.raises(ConflictError, match="is gone"):
        export_to(studio.storage, filled.project_id, tmp_path / "x.tar")
    assert [each for each in tmp_path.iterdir() if "x.tar" in each.name] == []


def test_an_archive_is_never_written_over(studio: Studio, tmp_path: Path) -> None:
    project = studio.storage.create_project_structure(ProjectCreate(name="Empty")).id
    target = tmp_path / "there.tar"
    target.write_text("precious")
    with pytest.raises(ConflictError, match="there already"):
        export_to(studio.storage, project, target)
    assert target.read_text() == "precious"
    with pytest.raises(NotFoundError):
        export_to(studio.storage, "nothing-00000000", tmp_path / "new.tar")


def test_an_empty_project_travels_too(studio: Studio, other: Studio) -> None:
    project = studio.storage.create_project_structure(ProjectCreate(name="Empty")).id
    imported = import_from(other.storage, archive_of(studio, project))
    assert imported.project.name == "Empty"
    assert json.loads(other.tree(project)["metadata.json"])["project"]["name"] == "Empty"
    other.storage.save_prompt(project, "first", "words")
    other.check(project)


def test_without_the_share_nothing_is_imported(studio: Studio, other: Studio) -> None:
    filled = fill(studio.storage)
    archive = archive_of(studio, filled.project_id)
    (other.root / ".noslop-share").unlink()
    with pytest.raises(ShareUnavailableError):
        import_from(other.storage, archive)


def test_a_stream_that_cannot_seek_is_enough(studio: Studio, other: Studio) -> None:
    filled = fill(studio.storage)
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as stream:
            export(studio.storage, filled.project_id, stream)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb") as stream:
        imported = import_from(other.storage, stream)
        stream.read()
    feeder.join()
    assert imported.project.id in projects_of(other)
    assert facts(other, filled.project_id) == facts(studio, filled.project_id)
