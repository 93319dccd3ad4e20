"""Test that nothing is lost of a ComfyUI that a user ran before the first deployment."""

from __future__ import annotations

from tests.faults.conftest import HOME_COMFYUI, OWN_FILES, Takeover, read_checksums

SHARES = {"models": "/mnt/noslop/comfyui/models", "custom_nodes": "/mnt/noslop/comfyui/custom_nodes"}


def test_every_file_is_on_the_share_byte_for_byte(takeover: Takeover) -> None:
    assert set(OWN_FILES) <= set(takeover.checksums)
    for tree, share in SHARES.items():
        shared = read_checksums(takeover.machines["worker2"], share)  # another host than the one it came from
        for path, digest in takeover.checksums.items():
            if path.startswith(f"{tree}/"):
                assert shared.get(path.removeprefix(f"{tree}/")) == digest, path


def test_old_directories_are_kept_under_a_new_name(takeover: Takeover) -> None:
    worker = takeover.machines["worker1"]
    for tree, share in SHARES.items():
        assert worker.check_output(f"readlink {HOME_COMFYUI}/{tree}").strip() == share
        renamed = worker.check_output(f"ls -d {HOME_COMFYUI}/{tree}.pre-noslop-*").split()
        assert len(renamed) == 1
        kept = read_checksums(worker, renamed[0])
        assert {f"{tree}/{path}": digest for path, digest in kept.items()} == {
            path: digest for path, digest in takeover.checksums.items() if path.startswith(f"{tree}/")
        }
