"""Test that a directory becomes a link to a share without loss, for any content and any failure."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.module_runner import Fault, break_disk, die, run_module

ROOT = Path(__file__).resolve().parents[4]
Tree = dict[str, tuple[str, ...]]


class Studio:
    """A user's directory and a share, both real."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.src = self.home / "models"
        self.dest = root / "share"
        self.src.mkdir(parents=True)
        self.dest.mkdir()
        marker = {"studio_id": "here", "share": "comfyui_models", "share_id": "1"}
        (self.dest / ".noslop-share").write_text(json.dumps(marker))

    def write(self, where: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def adopt(self, *, check: bool = False, fault: Fault | None = None, **more: object) -> dict[str, Any]:
        pair = {"src": str(self.src), "dest": str(self.dest), "share": "comfyui_models"}
        outer: dict[str, object] = {}
        for name in ("state", "only_existing", "account"):
            if name in more:
                outer[name] = more.pop(name)
        arguments = {"pairs": [{**pair, **more}], "account": getpass.getuser(), "studio_id": "here", **outer}
        return run_module("adopt_directory", arguments, check=check, fault=fault)

    def adopt_read_only(self, **more: object) -> dict[str, Any]:
        """Run the module where the share is mounted read-only, in a mount namespace of its own."""
        pair = {"src": str(self.src), "dest": str(self.dest), "share": "comfyui_models", **more}
        arguments = {"pairs": [pair], "account": getpass.getuser(), "studio_id": "here"}
        program = (
            "import json, sys\n"
            "from tests.support.module_runner import run_module\n"
            "print(json.dumps(run_module('adopt_directory', json.loads(sys.argv[1]))))\n"
        )
        mount = 'mount --bind "$DEST" "$DEST" && mount -o remount,bind,ro "$DEST"'
        script = mount + ' && exec "$PYTHON" -c "$PROGRAM" "$ARGUMENTS"'
        environment = {
            **os.environ,
            "DEST": str(self.dest),
            "PYTHON": sys.executable,
            "PROGRAM": program,
            "ARGUMENTS": json.dumps(arguments),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        done = subprocess.run([*namespace, "bash", "-c", script], env=environment, check=True, stdout=subprocess.PIPE)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def renamed(self) -> list[Path]:
        return sorted(self.home.glob("models.pre-noslop-*"))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def snapshot(directory: Path) -> Tree:
    """Return every path below a directory with its kind and content, and times and modes of files."""
    tree: Tree = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode):
            content: tuple[str, ...] = ("link", os.readlink(path))
        elif stat.S_ISDIR(about.st_mode):
            content = ("directory",)
        elif stat.S_ISREG(about.st_mode):
            content = ("file", hashlib.sha256(path.read_bytes()).hexdigest(), str(about.st_mtime_ns))
        else:
            content = ("special",)
        tree[str(path.relative_to(directory))] = content
    return tree


def test_all_files_are_on_the_share_and_in_the_renamed_directory(studio: Studio) -> None:
    studio.write(studio.src, {"checkpoints/a.safetensors": "weights", "vae/with space/ü.pt": "more", "empty": ""})
    before = snapshot(studio.src)
    answer = studio.adopt()
    assert answer["changed"]
    assert answer["carried"][0]["copied_files"] == 3
    assert answer["carried"][0]["copied_bytes"] == len("weightsmore")
    assert os.readlink(studio.src) == str(studio.dest)
    (renamed,) = studio.renamed()
    assert snapshot(renamed) == before
    assert before.items() <= snapshot(studio.dest).items()
    assert answer["carried"][0]["renamed_to"] == str(renamed)


def test_second_run_changes_nothing(studio: Studio) -> None:
    studio.write(studio.src, {"a": "1"})
    studio.adopt()
    before = snapshot(studio.home), snapshot(studio.dest)
    answer = studio.adopt()
    assert not answer["changed"]
    assert (snapshot(studio.home), snapshot(studio.dest)) == before


def test_check_mode_changes_nothing_and_predicts_the_result(studio: Studio) -> None:
    studio.write(studio.src, {"a": "12345", "b": "same"})
    studio.write(studio.dest, {"b": "same"})
    before = snapshot(studio.home), snapshot(studio.dest)
    answer = studio.adopt(check=True)
    assert answer["changed"]
    assert (answer["carried"][0]["copied_files"], answer["carried"][0]["copied_bytes"]) == (1, 5)
    assert (snapshot(studio.home), snapshot(studio.dest)) == before


def test_check_mode_works_without_a_share(studio: Studio) -> None:
    studio.write(studio.src, {"a": "1"})
    (studio.dest / ".noslop-share").unlink()
    studio.dest.rmdir()
    assert studio.adopt(check=True)["changed"]
    assert studio.src.is_dir()


def test_read_only_share_that_lacks_files_leaves_the_directory(studio: Studio) -> None:
    studio.write(studio.src, {"my_node/__init__.py": "code", "other.py": "mine", "own.example": "", "same.py": "1"})
    studio.write(studio.dest, {"same.py": "1", "other.py": "your"})
    before = snapshot(studio.home), snapshot(studio.dest)
    answer = studio.adopt_read_only(prefer_share=["*.example"])
    assert answer["not_adopted"] == [
        {"src": str(studio.src), "dest": str(studio.dest), "names": ["my_node", "other.py"]}
    ]
    assert (answer["changed"], answer["carried"]) == (False, [])
    assert (snapshot(studio.home), snapshot(studio.dest)) == before
    assert not studio.adopt_read_only(prefer_share=["*.example"])["changed"]


def test_read_only_share_that_has_every_file_replaces_the_directory(studio: Studio) -> None:
    studio.write(studio.src, {"my_node/__init__.py": "code", "own.example": "", "empty/own.example": ""})
    studio.write(studio.dest, {"my_node/__init__.py": "code"})
    answer = studio.adopt_read_only(prefer_share=["*.example"])
    assert answer["not_adopted"] == []
    assert answer["carried"][0]["kept_on_share"] == ["empty/own.example", "own.example"]
    assert os.readlink(studio.src) == str(studio.dest)
    assert len(studio.renamed()) == 1
    assert not studio.adopt_read_only(prefer_share=["*.example"])["changed"]


def test_differing_files_are_refused_before_any_change(studio: Studio) -> None:
    studio.write(studio.src, {"checkpoints/a": "mine", "checkpoints/b": "new", "loras/c": "longer"})
    studio.write(studio.dest, {"checkpoints/a": "your", "loras/c": "long"})
    before = snapshot(studio.home), snapshot(studio.dest)
    for check in (True, False):
        answer = studio.adopt(check=check)
        assert answer["failed"]
        assert f"{studio.src}/checkpoints/a" in answer["msg"]
        assert "another content" in answer["msg"]
        assert f"{studio.src}/loras/c" in answer["msg"]
        assert "checkpoints/b" not in answer["msg"]
        assert (snapshot(studio.home), snapshot(studio.dest)) == before


def test_file_in_place_of_a_directory_is_refused(studio: Studio) -> None:
    studio.write(studio.src, {"vae/a": "1", "loras": "a file"})
    studio.write(studio.dest, {"vae": "a file", "loras/b": "1"})
    answer = studio.adopt()
    assert "vae: a directory here, a file on the share" in answer["msg"]
    assert "loras: a file here, a directory on the share" in answer["msg"]
    assert "vae/a" not in answer["msg"]


def test_files_of_comfyui_itself_may_differ(studio: Studio) -> None:
    studio.write(studio.src, {"configs/v1.yaml": "old", "a": "1"})
    studio.write(studio.dest, {"configs/v1.yaml": "new"})
    answer = studio.adopt(prefer_share=["configs/*.yaml"])
    assert answer["carried"][0]["kept_on_share"] == ["configs/v1.yaml"]
    assert (studio.dest / "configs/v1.yaml").read_text() == "new"
    assert (studio.renamed()[0] / "configs/v1.yaml").read_text() == "old"


def test_differing_model_is_copied_under_another_name(studio: Studio) -> None:
    studio.write(studio.src, {"manifests/llama/latest": "mine", "blobs/x": "1"})
    studio.write(studio.dest, {"manifests/llama/latest": "your"})
    answer = studio.adopt(rename=["manifests/*"], suffix="-worker1")
    assert answer["carried"][0]["renamed_on_share"] == ["manifests/llama/latest -> manifests/llama/latest-worker1"]
    assert (studio.dest / "manifests/llama/latest").read_text() == "your"
    assert (studio.dest / "manifests/llama/latest-worker1").read_text() == "mine"


def test_excluded_files_stay_in_the_renamed_directory(studio: Studio) -> None:
    studio.write(studio.src, {"blobs/sha256-a-partial-0": "half", "blobs/sha256-b": "whole"})
    answer = studio.adopt(exclude=["blobs/*-partial*"])
    assert answer["carried"][0]["left"] == ["blobs/sha256-a-partial-0"]
    assert not (studio.dest / "blobs/sha256-a-partial-0").exists()
    assert (studio.renamed()[0] / "blobs/sha256-a-partial-0").read_text() == "half"


def test_links_have_the_same_meaning_on_the_share(studio: Studio) -> None:
    studio.write(studio.src, {"loras/a": "a"})
    studio.write(studio.home, {"elsewhere/b": "b", "elsewhere/deep/c": "c", "one": "1"})
    (studio.src / "relative").symlink_to("loras/a")
    (studio.src / "absolute").symlink_to(studio.src / "loras/a")
    (studio.src / "loras/up").symlink_to(studio.src / "relative")
    (studio.src / "outside").symlink_to("../elsewhere")
    (studio.src / "outside-file").symlink_to(studio.home / "one")
    (studio.src / "nowhere").symlink_to("/does/not/exist")
    (studio.src / "circle").symlink_to("..")
    (studio.home / "elsewhere/circle").symlink_to(studio.home / "elsewhere")
    (pair,) = studio.adopt()["carried"]
    assert os.readlink(studio.dest / "relative") == "loras/a"
    for name in ("relative", "absolute", "loras/up"):
        assert not os.path.isabs(os.readlink(studio.dest / name))
        assert (studio.dest / name).resolve() == studio.dest / "loras/a"
    assert not (studio.dest / "outside").is_symlink()
    assert (studio.dest / "outside/deep/c").read_text() == "c"
    assert not (studio.dest / "outside-file").is_symlink()
    assert (studio.dest / "outside-file").read_text() == "1"
    assert sorted(pair["followed"]) == ["outside", "outside-file"]
    assert sorted(pair["dangling"]) == ["circle", "nowhere", "outside/circle"]


def test_hard_links_stay_one_file(studio: Studio) -> None:
    studio.write(studio.src, {"a": "x" * 1000})
    os.link(studio.src / "a", studio.src / "b")
    answer = studio.adopt()
    assert answer["carried"][0]["copied_bytes"] == 1000
    assert (studio.dest / "a").samefile(studio.dest / "b")


def test_group_gets_access_to_private_files(studio: Studio) -> None:
    studio.write(studio.src, {"d/a": "1"})
    (studio.src / "d/a").chmod(0o400)
    (studio.src / "d").chmod(0o700)
    studio.adopt()
    assert stat.S_IMODE((studio.dest / "d/a").stat().st_mode) == 0o660
    assert stat.S_IMODE((studio.dest / "d").stat().st_mode) & 0o770 == 0o770


def test_sockets_and_pipes_are_not_copied(studio: Studio) -> None:
    os.mkfifo(studio.src / "pipe")
    assert studio.adopt()["carried"][0]["left"] == ["pipe"]


def test_directory_behind_a_link_is_copied_and_the_link_renamed(studio: Studio) -> None:
    studio.write(studio.home, {"big-disk/a": "1"})
    studio.src.rmdir()
    studio.src.symlink_to("big-disk")
    studio.adopt()
    assert os.readlink(studio.renamed()[0]) == "big-disk"
    assert os.readlink(studio.src) == str(studio.dest)
    assert (studio.dest / "a").read_text() == "1"


def test_missing_directory_becomes_a_link_where_its_parent_exists(studio: Studio) -> None:
    studio.src.rmdir()
    assert not studio.adopt(only_existing=True)["changed"]
    assert studio.adopt()["changed"]
    assert studio.src.is_symlink()


def test_host_without_the_directories_changes_nothing(studio: Studio) -> None:
    studio.src.rmdir()
    studio.home.rmdir()
    answer = studio.adopt()
    assert not answer["changed"]
    assert answer["absent"] == [str(studio.src)]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (None, "is not a share of the studio, or is not mounted"),
        ('{"studio_id": "there", "share": "comfyui_models"}', "'there'"),
        ('{"studio_id": "here", "share": "projects"}', "'projects'"),
        ("not json", "not readable"),
    ],
)
def test_wrong_share_is_refused(studio: Studio, marker: str | None, message: str) -> None:
    studio.write(studio.src, {"a": "1"})
    place = studio.dest / ".noslop-share"
    place.unlink()
    if marker is not None:
        place.write_text(marker)
    before = snapshot(studio.home), snapshot(studio.dest)
    answer = studio.adopt()
    assert answer["failed"]
    assert message in answer["msg"]
    assert (snapshot(studio.home), snapshot(studio.dest)) == before


def test_share_inside_the_directory_is_refused(studio: Studio) -> None:
    inner = Studio(studio.home)
    inner.dest.rename(studio.src / "share")
    studio.dest = studio.src / "share"
    assert "overlaps" in studio.adopt()["msg"]


def test_removal_renames_the_directory_back(studio: Studio) -> None:
    studio.write(studio.src, {"a": "1"})
    before = snapshot(studio.src)
    studio.adopt()
    studio.write(studio.dest, {"b": "came later"})
    assert studio.adopt(state="absent", check=True)["changed"]
    assert studio.src.is_symlink()
    assert studio.adopt(state="absent")["changed"]
    assert snapshot(studio.src) == before
    assert not studio.src.is_symlink()
    assert (studio.dest / "b").read_text() == "came later"
    assert not studio.adopt(state="absent")["changed"]


def test_removal_keeps_foreign_links(studio: Studio) -> None:
    studio.src.rmdir()
    studio.src.symlink_to("/somewhere/else")
    assert not studio.adopt(state="absent")["changed"]
    assert os.readlink(studio.src) == "/somewhere/else"


CONTENTS: dict[str, str] = {"checkpoints/a": "a" * 70000, "checkpoints/b": "", "vae/deep/c": "c"}


def changes_of_a_whole_run(root: Path) -> int:
    """Return the number of changes of a run."""
    studio = Studio(root)
    studio.write(studio.src, CONTENTS)
    changes: int = studio.adopt(fault=Fault(0, die))["changes"]
    return changes


def test_run_killed_at_any_change_is_completed_by_the_next(tmp_path: Path) -> None:
    total = changes_of_a_whole_run(tmp_path / "counting")
    assert total > 10
    for number in range(1, total + 1):
        studio = Studio(tmp_path / str(number))
        studio.write(studio.src, CONTENTS)
        (studio.src / "link").symlink_to("vae/deep/c")
        before = snapshot(studio.src)
        assert studio.adopt(fault=Fault(number, die))["died"] == 9
        assert "failed" not in studio.adopt()
        assert os.readlink(studio.src) == str(studio.dest)
        (renamed,) = studio.renamed()
        assert snapshot(renamed) == before
        on_share = snapshot(studio.dest)
        assert before.items() <= on_share.items()
        assert not [name for name in on_share if ".noslop-part-" in name]


def test_failure_at_any_change_keeps_the_directory_usable(tmp_path: Path) -> None:
    """Let the disk fail at each change: the directory is unchanged, or a complete link, and the next run succeeds."""
    failed = 0
    for number in range(1, changes_of_a_whole_run(tmp_path / "counting") + 1):
        studio = Studio(tmp_path / str(number))
        studio.write(studio.src, CONTENTS)
        before = snapshot(studio.src)
        answer = studio.adopt(fault=Fault(number, break_disk))
        if answer.get("failed"):
            failed += 1
            assert "Input/output error" in answer["msg"]
            assert snapshot(studio.src) == before
            assert studio.renamed() == []
        assert studio.src.is_symlink() != answer.get("failed", False)
        assert "failed" not in studio.adopt()
        assert before.items() <= snapshot(studio.dest).items()
    assert failed > 5


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "f/a"])
FILES = st.dictionaries(NAMES, st.sampled_from(["", "x", "y", "longer"]), max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=FILES, shared=FILES, data=st.data())
def test_no_file_is_lost_for_any_content(
    tmp_path_factory: pytest.TempPathFactory, own: dict[str, str], shared: dict[str, str], data: st.DataObject
) -> None:
    studio = Studio(tmp_path_factory.mktemp("studio"))
    studio.write(studio.src, own)
    studio.write(studio.dest, shared)
    before, share_before = snapshot(studio.src), snapshot(studio.dest)
    answer = studio.adopt()
    differing = {name for name in own.keys() & shared.keys() if own[name] != shared[name]}
    if differing:
        assert answer["failed"]
        assert all(f"{studio.src}/{name}:" in answer["msg"] for name in differing)
        assert snapshot(studio.src) == before
        assert snapshot(studio.dest) == share_before
        return
    (renamed,) = studio.renamed()
    assert snapshot(renamed) == before
    share = snapshot(studio.dest)
    assert share_before.items() <= share.items()
    assert {name: (studio.dest / name).read_text() for name in own} == own


NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two accounts")
class TestTwoAccounts:
    """Root reads as the directory's owner and writes as the share's."""

    @pytest.fixture(autouse=True)
    def own(self, studio: Studio) -> None:
        self.account = pwd.getpwuid(NOBODY).pw_name
        place = studio.src
        while place != Path("/tmp") and place != place.parent:  # other accounts cannot enter pytest's directories
            place.chmod(0o755)
            place = place.parent
        os.chown(studio.dest, NOBODY, NOBODY)
        studio.dest.chmod(0o700)

    def test_copied_files_belong_to_the_share(self, studio: Studio) -> None:
        studio.write(studio.src, {"d/a": "1"})
        (studio.src / "d/a").chmod(0o600)
        answer = studio.adopt(account=self.account)
        assert "failed" not in answer
        assert {path.stat().st_uid for path in (studio.dest / "d", studio.dest / "d/a")} == {NOBODY}

    def test_link_does_not_publish_unreadable_files(self, studio: Studio) -> None:
        secret = studio.home / "secret"
        secret.write_text("for root only")
        secret.chmod(0o600)
        os.chown(studio.src, NOBODY, NOBODY)
        (studio.src / "model").symlink_to(secret)
        answer = studio.adopt(account=self.account)
        assert "Permission denied" in answer["msg"]
        assert not (studio.dest / "model").exists()
        assert studio.src.is_dir()
        assert not studio.src.is_symlink()

    def test_link_in_place_of_the_directory_does_not_expose_roots_files(self, studio: Studio) -> None:
        """Replace it, or a directory above it, by a link to files that only root may read and rename."""
        outside = studio.home.parent / "outside" / "models"
        outside.mkdir(parents=True)
        (outside / "secret").write_text("for root only")
        outside.chmod(0o700)
        os.chown(studio.src.parent, NOBODY, NOBODY)
        moved = studio.src.with_name("moved")
        studio.src.rename(moved)
        studio.src.symlink_to(outside)
        assert studio.adopt(account=self.account)["failed"]
        assert os.listdir(outside) == ["secret"]
        assert [name for name in os.listdir(studio.dest) if not name.startswith(".")] == []

    def test_link_is_made_as_the_owner_of_its_directory(self, studio: Studio) -> None:
        studio.write(studio.src, {"a": "1"})
        os.chown(studio.src.parent, NOBODY, NOBODY)
        os.chown(studio.src, NOBODY, NOBODY)
        assert "failed" not in studio.adopt(account=self.account)
        assert studio.src.is_symlink()
        assert studio.src.lstat().st_uid == NOBODY


def test_directory_that_lacks_what_it_must_contain_is_skipped(studio: Studio) -> None:
    studio.write(studio.src, {"blobs/a": "1"})

    answer = studio.adopt(contains=["blobs", "manifests"], only_existing=True)

    assert (answer["changed"], answer["absent"]) == (False, [str(studio.src)])
    assert not studio.src.is_symlink()
    (studio.src / "manifests").mkdir()
    assert studio.adopt(contains=["blobs", "manifests"], only_existing=True)["changed"]
