"""Test that nothing is lost of a ComfyUI that a user ran before the first deployment."""

from __future__ import annotations

from tests.faults.conftest import HOME_COMFYUI, OWN_FILES, Takeover, read_checksums
from tests.support.lab.driver import INVENTORY, run_driver_json
from tests.support.lab.machines import Machine

SHARES = {"models": "/mnt/noslop/comfyui/models", "custom_nodes": "/mnt/noslop/comfyui/custom_nodes"}
STUDIO_FILE = INVENTORY / "group_vars" / "all" / "studio.yml"


def list_own(takeover: Takeover, tree: str) -> dict[str, str]:
    """Return the SHA-256 of the user's files in one of the directories, by path below it."""
    prefix = f"{tree}/"
    return {path.removeprefix(prefix): digest for path, digest in takeover.checksums.items() if path.startswith(prefix)}


def assert_adopted(takeover: Takeover, tree: str) -> None:
    """Check every file of a directory on the share, seen from another worker, and in the directory that was kept."""
    worker, own = takeover.machines["worker1"], list_own(takeover, tree)
    shared = read_checksums(takeover.machines["worker2"], SHARES[tree])
    assert own.items() <= shared.items()
    assert worker.check_output(f"readlink {HOME_COMFYUI}/{tree}").strip() == SHARES[tree]
    renamed = worker.check_output(f"ls -d {HOME_COMFYUI}/{tree}.pre-noslop-*").split()
    assert len(renamed) == 1
    assert read_checksums(worker, renamed[0]) == own


def deploy_with_writers(writers: str) -> None:
    """Set who may write to the share of custom nodes, as a user would, and deploy."""
    lines = STUDIO_FILE.read_text().splitlines()
    settings = [line for line in lines if line.startswith("noslop_custom_nodes_writers:")]
    assert len(settings) == 1
    lines[lines.index(settings[0])] = f"noslop_custom_nodes_writers: {writers}"
    STUDIO_FILE.write_text("\n".join(lines) + "\n")
    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result


def is_writable(machine: Machine, share: str) -> bool:
    """Return whether the owner of the share of custom nodes can create a file there."""
    command = f"runuser -u noslop-nodes -- sh -c 'touch {share}/attempt && rm {share}/attempt'"
    return machine.sudo(command).returncode == 0


def test_every_model_is_on_the_share_and_in_the_renamed_directory(takeover: Takeover) -> None:
    assert set(OWN_FILES) <= set(takeover.checksums)
    assert_adopted(takeover, "models")


def test_custom_nodes_of_a_worker_stay_as_they_are_and_the_report_names_the_way(takeover: Takeover) -> None:
    worker = takeover.machines["worker1"]
    assert worker.check_output(f"stat --format %F {HOME_COMFYUI}/custom_nodes").strip() == "directory"
    assert read_checksums(worker, f"{HOME_COMFYUI}/custom_nodes") == list_own(takeover, "custom_nodes")
    words = " ".join(takeover.output.split())
    assert "custom_nodes stays as it is" in words
    assert "my_node" in words
    assert "noslop_custom_nodes_writers: members" in words


def test_nodes_are_adopted_while_members_may_write_to_their_share(takeover: Takeover) -> None:
    worker, share = takeover.machines["worker1"], SHARES["custom_nodes"]
    assert not is_writable(worker, share)
    deploy_with_writers("members")
    assert_adopted(takeover, "custom_nodes")
    deploy_with_writers("server")
    assert not is_writable(worker, share)
    assert_adopted(takeover, "custom_nodes")
