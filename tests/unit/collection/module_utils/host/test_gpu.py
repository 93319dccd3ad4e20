"""Test that the output of nvidia-smi, rocm-smi, kfd and the PCI bus becomes one list of cards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu

from tests.support.module_runner import run_module

NVIDIA = """\
name, memory.total [MiB], driver_version, pci.bus_id
NVIDIA GeForce RTX 4090, 24564 MiB, 580.95.05, 00000000:01:00.0
NVIDIA RTX A2000 12GB, 12282 MiB, 580.95.05, 00000000:02:00.0
"""
ROCM = """\
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card0": {"VRAM Total Memory (B)": "25753026560", "VRAM Total Used Memory (B)": "27934720",
 "Card Series": "Radeon RX 7900 XTX", "Card Model": "0x744c", "PCI Bus": "0000:03:00.0"},
 "card1": {"VRAM Total Memory (B)": "536870912", "Card series": "0x164e", "Card model": "Raphael",
 "PCI Bus": "0000:6D:00.0"},
 "system": {"Driver version": "6.12.12"}}
"""


def nothing(_: tuple[str, ...]) -> tuple[int, str] | None:
    return None


def runner_with(**answers: tuple[int, str]) -> gpu.Runner:
    """Return a runner for a host with these programs and their output."""
    return lambda command: answers.get(command[0].replace("-", "_"))


def card(root: Path, slot: str, vendor: str, device: str = "0x2684", driver: str = "", **more: str) -> None:
    place = root / "sys/bus/pci/devices" / slot
    place.mkdir(parents=True)
    for name, text in {"vendor": vendor, "device": device, "class": "0x030000", **more}.items():
        (place / name).write_text(text + "\n")
    if driver:
        (place / "driver").symlink_to(f"../../../drivers/{driver}")


def test_nvidia_cards_have_name_memory_and_driver() -> None:
    cards = gpu.find_gpus(runner_with(nvidia_smi=(0, NVIDIA)), "/nowhere")
    assert [card.as_fact() for card in cards] == [
        {
            "vendor": "nvidia",
            "name": "NVIDIA GeForce RTX 4090",
            "memory_mib": 24564,
            "driver": "580.95.05",
            "capability": None,
            "usable": True,
            "why": "",
        },
        {
            "vendor": "nvidia",
            "name": "NVIDIA RTX A2000 12GB",
            "memory_mib": 12282,
            "driver": "580.95.05",
            "capability": None,
            "usable": True,
            "why": "",
        },
    ]


def test_columns_are_identified_by_their_titles() -> None:
    text = "driver_version, name, memory.total [MiB]\n550.54.14, Tesla T4, 15360 MiB\n"
    (only,) = gpu.parse_nvidia_smi(text)
    assert (only.name, only.memory_mib, only.driver) == ("Tesla T4", 15360, "550.54.14")


def test_compute_capability_is_read_where_the_driver_tells_it() -> None:
    """Test a current nvidia-smi, and an old one, which refuses the whole query for a field that it does not know."""
    text = "name, memory.total [MiB], driver_version, pci.bus_id, compute_cap\n"
    text += (
        "GTX 1080, 8192 MiB, 580.95.05, 00000000:01:00.0, 6.1\nTesla K80, 11441 MiB, 470.256, 00000000:02:00.0, 3.7\n"
    )

    def old(command: tuple[str, ...]) -> tuple[int, str] | None:
        is_new_query = "compute_cap" in " ".join(command)
        answer = (2, 'Field "compute_cap" is not a valid field to query.') if is_new_query else (0, NVIDIA)
        return answer if command[0] == "nvidia-smi" else None

    gtx, k80 = gpu.find_gpus(runner_with(nvidia_smi=(0, text)), "/nowhere")
    assert (gtx.capability, gtx.usable) == ("6.1", True)
    assert (k80.usable, k80.why) == (False, "compute capability 3.7, and no build of PyTorch has code below 5.0")
    assert [(card.capability, card.usable) for card in gpu.find_gpus(old, "/nowhere")] == [(None, True)] * 2


def test_unknown_memory_is_none() -> None:
    """Test a chip that shares the processor's memory."""
    (only,) = gpu.parse_nvidia_smi("name, memory.total [MiB], driver_version\nNVIDIA GB10, [N/A], 580.95.05\n")
    assert only.memory_mib is None
    assert only.usable


@pytest.mark.parametrize("text", ["", "No devices were found\n", "name, memory.total [MiB], driver_version\n"])
def test_output_without_cards_is_empty(text: str) -> None:
    assert gpu.parse_nvidia_smi(text) == []


def test_broken_driver_is_reported_with_its_message(tmp_path: Path) -> None:
    card(tmp_path, "0000:01:00.0", "0x10de", driver="nvidia")
    output = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMake sure that ...\n"
    (only,) = gpu.find_gpus(runner_with(nvidia_smi=(9, output)), str(tmp_path))
    assert not only.usable
    assert "couldn't communicate" in only.why


def test_card_in_both_sources_is_listed_once(tmp_path: Path) -> None:
    card(tmp_path, "0000:01:00.0", "0x10de", driver="nvidia")
    card(tmp_path, "0000:02:00.0", "0x10de", driver="nvidia")
    card(tmp_path, "0000:05:00.0", "0x10de", driver="vfio-pci")
    cards = gpu.find_gpus(runner_with(nvidia_smi=(0, NVIDIA)), str(tmp_path))
    assert [card.usable for card in cards] == [True, True, False]
    assert "vfio-pci" in cards[2].why


@pytest.mark.parametrize(
    ("vendor", "driver", "reason"),
    [
        ("0x10de", "", "hardware present, no driver"),
        ("0x10de", "nouveau", "nouveau"),
        ("0x10de", "nvidia", "nvidia-smi is not installed"),
        ("0x1002", "", "hardware present, no driver"),
        ("0x1002", "amdgpu", "display only"),
        ("0x1002", "radeon", "display only"),
        ("0x8086", "", "hardware present, no driver"),
    ],
)
def test_unusable_card_has_a_reason(tmp_path: Path, vendor: str, driver: str, reason: str) -> None:
    card(tmp_path, "0000:01:00.0", vendor, driver=driver)
    (only,) = gpu.find_gpus(nothing, str(tmp_path))
    assert not only.usable
    assert reason in only.why


def test_intel_cards_are_used_and_integrated_graphics_are_not(tmp_path: Path) -> None:
    card(tmp_path, "0000:00:02.0", "0x8086", driver="i915")
    card(tmp_path, "0000:03:00.0", "0x8086", driver="xe")
    integrated, discrete = gpu.find_gpus(nothing, str(tmp_path))
    assert not integrated.usable
    assert "integrated" in integrated.why
    assert discrete.usable


def test_display_only_cards_are_ignored(tmp_path: Path) -> None:
    card(tmp_path, "0000:01:00.0", "0x1a03")  # a server's own
    card(tmp_path, "0000:02:00.0", "0x1234")  # a virtual machine's
    card(tmp_path, "0000:04:00.0", "0x10de", **{"class": "0x040300"})  # the sound of a graphics card
    assert gpu.find_gpus(nothing, str(tmp_path)) == []


def test_names_come_from_pci_ids(tmp_path: Path) -> None:
    card(tmp_path, "0000:01:00.0", "0x10de")
    ids = tmp_path / "usr/share/misc/pci.ids"
    ids.parent.mkdir(parents=True)
    ids.write_text(
        "1002  AMD\n\t2684  Wrong\n# c\n10de  NVIDIA\n\t2684  AD102 [GeForce RTX 4090]\n\t\t1043 8888  Sub\nffff  X\n"
    )
    assert gpu.find_gpus(nothing, str(tmp_path))[0].name == "AD102 [GeForce RTX 4090]"


def test_amd_cards_from_rocm_smi() -> None:
    large, small = gpu.find_gpus(runner_with(rocm_smi=(0, ROCM)), "/nowhere")
    assert (large.name, large.memory_mib, large.driver) == ("Radeon RX 7900 XTX", 24560, "6.12.12")
    assert large.usable
    assert small.name == "Raphael"
    assert not small.usable
    assert "512 MiB" in small.why


def test_amd_cards_from_kfd(tmp_path: Path) -> None:
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    (nodes / "0").mkdir(parents=True)
    (nodes / "0/properties").write_text("cpu_cores_count 16\nsimd_count 0\n")
    (nodes / "1/mem_banks/0").mkdir(parents=True)
    (nodes / "1/name").write_text("navi31\n")
    (nodes / "1/properties").write_text("simd_count 192\nlocation_id 768\ndomain 0\nvendor_id 4098\n")
    (nodes / "1/mem_banks/0/properties").write_text("heap_type 1\nsize_in_bytes 25753026560\nflags 0\n")
    card(tmp_path, "0000:03:00.0", "0x1002", "0x744c", driver="amdgpu", mem_info_vram_total="25753026560")
    (only,) = gpu.find_gpus(nothing, str(tmp_path))
    assert (only.name, only.memory_mib, only.driver, only.usable) == ("navi31", 24560, "amdgpu", True)


@pytest.mark.parametrize("text", ["", "not json", "{", '{"card0": {}}'])
def test_any_output_of_rocm_smi_is_accepted(text: str) -> None:
    assert all(one.memory_mib is None for one in gpu.parse_rocm_smi(text))


def test_the_module_runs_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{NVIDIA}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = run_module("gpu_facts", {}, check=True)
    assert not answer["changed"]
    names = [one["name"] for one in answer["ansible_facts"]["noslop_gpus"] if one["vendor"] == "nvidia"]
    assert names == ["NVIDIA GeForce RTX 4090", "NVIDIA RTX A2000 12GB"]
    assert json.dumps(answer)
