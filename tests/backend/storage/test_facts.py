# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test facts and fields of files: in their rows, on the share, and found by the search; for each kind of upload.

A rebuild, an export and an import of such files: `filled.fill` has them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from noslop_backend import migrations
from noslop_backend.media.facts import Facts, facts_to_json, fields_to_json, read_facts, read_fields
from noslop_backend.media.tags import LEFT_OUT
from noslop_backend.media.tags.fields import Fields
from noslop_backend.schemas import FilePublic
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend import samples
from tests.backend.studio import Studio, png
from tests.backend.test_fields import A1111, EXPECTED, PROMPT

TEXTS = {"prompt": json.dumps(PROMPT)}


def test_media_have_facts_and_fields_and_are_found_by_them(
    studio: Studio, storage: ProjectStorage, project: str
) -> None:
    size = {"width": samples.SIZE[0], "height": samples.SIZE[1]}
    video = samples.encoded("mp4", "mpeg4", options="movflags=use_metadata_tags")(TEXTS)
    saved: dict[str, tuple[FilePublic, Facts]] = {
        "picture": (storage.save_generated_media(project, "a", samples.png_text(TEXTS)), Facts(**size, frames=1)),
        "animation": (storage.save_generated_media(project, "b", samples.webp(TEXTS)), Facts(**size, frames=1)),
        "video": (storage.save_generated_media(project, "c", video), Facts(**size, frames=1)),
        "latent": (storage.save_intermediate(project, FileKind.LATENT, "d", samples.latent(TEXTS)), Facts()),
    }
    for name, (file, facts) in saved.items():
        assert file.fields == EXPECTED, name
        known = file.facts or Facts()
        assert (known.width, known.height) == (facts.width, facts.height), name
        # They are no parameters: what was given is compared when a request comes again.
        assert file.parameters == {}
        assert storage.get_file(project, file.id) == file
    ids = {file.id for file, _ in saved.values()}
    for wanted in ({"query": "cat"}, {"seed": 7}, {"model": "a.safetensors"}, {"model": "l"}, {"query": "karras"}):
        assert {file.id for file in storage.search_files(**wanted).items} == ids, wanted
    pictures = ids - {saved["latent"][0].id}
    assert {
        file.id for file in storage.search_files("cat", width=samples.SIZE[0], height=samples.SIZE[1]).items
    } == pictures
    assert storage.search_files(width=samples.SIZE[0] + 1).items == storage.search_files(height=1).items == []
    picture = saved["picture"][0]
    sidecar = storage.load_metadata(project, picture.id)
    assert (sidecar["facts"], sidecar["fields"]) == ({**size, "frames": 1}, fields_to_json(EXPECTED))
    final = storage.promote_to_final(project, saved["latent"][0].id)
    assert (final.fields, final.facts) == (EXPECTED, None)
    ticket = storage.reserve_adoption(project, FileKind.IMAGE, "e", 100_000)
    Path(ticket.staging_path).write_bytes(samples.png_text({"parameters": A1111}))
    adopted = storage.adopt(project, ticket.ticket_id)
    assert adopted.fields is not None
    assert (adopted.fields.prompt, adopted.fields.seeds) == ("a cat <lora:l.safetensors:0.8:1>\non a mat", (7,))
    studio.check(project)


def test_a_sidecar_holds_no_copy_of_what_the_file_embeds(studio: Studio, storage: ProjectStorage, project: str) -> None:
    texts = {"prompt": json.dumps(PROMPT), "workflow": json.dumps({"nodes": ["x" * 100] * 10_000})}
    content = samples.png_text(texts)
    saved = storage.save_generated_media(project, "a", content)
    path = studio.root / project / saved.path
    assert len(Path(f"{path}.meta.json").read_bytes()) < 2000
    metadata = storage.load_metadata(project, saved.id)
    assert metadata["embedded"] == {key: json.loads(text) for key, text in texts.items()}
    assert metadata["embedded_texts"]["keys"] == ["prompt", "workflow"]
    final = storage.promote_to_final(project, saved.id)
    storage.trash(project, [saved.id], force=True)
    for file in (saved, final):
        assert storage.load_metadata(project, file.id)["embedded"]["prompt"] == PROMPT
    storage.restore(project, [saved.id])
    # Another program writes another file in its place, and then it is gone.
    path.unlink()
    path.write_bytes(samples.png_text({"prompt": "{}", LEFT_OUT: "a text"}))
    changed = storage.load_metadata(project, saved.id)["embedded"]
    assert changed.pop(LEFT_OUT) == [{"key": "", "bytes": 0, "why": "the file has other texts than when it was saved"}]
    assert changed == {"prompt": {}}
    path.unlink()
    assert "removed from the share" in storage.load_metadata(project, saved.id)["embedded"][LEFT_OUT][0]["why"]


def test_a_plain_picture_has_its_size_and_no_fields(storage: ProjectStorage, project: str) -> None:
    saved = storage.save_generated_media(project, "a", png(1))
    assert (saved.facts, saved.fields) == (Facts(4, 4, frames=1), None)
    assert "fields" not in storage.load_metadata(project, saved.id)
    workflow = storage.save_workflow(project, "w", {"width": 4})
    assert (workflow.facts, workflow.fields) == (None, None)


def test_the_version_before_has_no_facts_and_this_one_goes_on(studio: Studio, project: str) -> None:
    saved = studio.storage.save_generated_media(project, "a", samples.png_text(TEXTS))
    migrations.downgrade(studio.storage.database, "0005")
    migrations.upgrade(studio.storage.database)
    row = studio.storage.get_file(project, saved.id)
    assert (row.facts, row.fields) == (None, None)
    # The share has them, and they come back with the next change.
    studio.storage.save_metadata(project, saved.id, {})
    assert studio.storage.get_file(project, saved.id).fields == EXPECTED
    studio.check(project)


@pytest.mark.parametrize(
    "value",
    [
        {"cfg": float("inf")},
        {"prompt": "\ud800"},
        {"prompt": "x" * 2**20},
        {"seeds": "many"},
        {"models": [{}]},
        [],
        7,
    ],
)
def test_fields_that_are_none_are_not_believed(value: object) -> None:
    assert read_fields(value) == Fields()
    assert read_facts({"width": -1}) == read_facts({"duration_s": float("nan")}) == Facts()


def test_records_are_read_as_they_are_written() -> None:
    facts = Facts(1, 2, 3.5, 4)
    assert (read_facts(facts_to_json(facts)), read_fields(fields_to_json(EXPECTED))) == (facts, EXPECTED)
    assert (facts_to_json(Facts()), fields_to_json(Fields())) == (None, None)
