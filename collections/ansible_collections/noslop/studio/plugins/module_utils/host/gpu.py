# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the graphics cards of a host, and decide whether ComfyUI and Ollama can compute on them.

Three sources, in this order: ``nvidia-smi``, ``rocm-smi`` or ``/sys/class/kfd``, and the PCI bus, which also shows
cards without a usable driver. Everything here parses text and reads below a given root; only :func:`run_program`
starts a process.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_support
from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older

MIB = 1024 * 1024
#: No image model fits into less memory: an old display card, or a part of main memory.
LEAST_MEMORY_MIB = 2048
#: PCI classes of graphics: VGA controller, 3D controller.
PCI_CLASSES = ("0x0300", "0x0302")
PCI_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
#: The PCI address of Intel's integrated graphics, always the same.
INTEL_INTEGRATED_SLOT = "0000:00:02.0"
PCI_IDS_FILES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
#: Exit code of nvidia-smi for a field that it does not know (nvidia-smi(1), "Return value").
INVALID_ARGUMENT = 2
#: The second one is for drivers that do not know the compute capability: their nvidia-smi fails on the first.
NVIDIA_SMI = tuple(
    ("nvidia-smi", f"--query-gpu=name,memory.total,driver_version,pci.bus_id{more}", "--format=csv")
    for more in (",compute_cap", "")
)
ROCM_SMI = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--showbus", "--json")
#: A driver that hangs must not block the run.
PROGRAM_TIMEOUT_S = 30.0

#: Runs a program and returns its exit code and its output, or ``None`` where it is not installed.
Runner = Callable[[tuple[str, ...]], "tuple[int, str] | None"]


@dataclass
class Gpu:
    """One card. ``why`` is the reason why it cannot be used, and is empty when it can."""

    vendor: str
    name: str
    memory_mib: int | None = None
    driver: str | None = None
    #: compute capability of NVIDIA's cards, like 8.6
    capability: str | None = None
    usable: bool = True
    why: str = ""
    #: PCI address, by which entries of two sources are recognised as one card. Not part of the facts.
    slot: str = field(default="", repr=False)

    def as_fact(self) -> dict[str, Any]:
        """Return the card as a host's facts contain it."""
        fact = asdict(self)
        del fact["slot"]
        return fact


def find_gpus(run: Runner, root: str = "/") -> list[Gpu]:
    """Return every graphics card of NVIDIA, AMD and Intel on this host.

    Args:
        run: how to run a program; see :data:`Runner`.
        root: directory that holds ``sys``, for tests.
    """
    on_bus = read_pci(root)
    cards, nvidia_problem = _nvidia(run)
    cards += _amd(run, root, on_bus)
    listed_slots = {gpu.slot for gpu in cards if gpu.slot}
    # A source without PCI addresses stands for all cards of its vendor.
    vendors_without_slots = {gpu.vendor for gpu in cards if not gpu.slot}
    for gpu in on_bus:
        if gpu.slot in listed_slots or gpu.vendor in vendors_without_slots:
            continue
        cards.append(_judge_bare(gpu, nvidia_problem))
    return [_judge_capability(_judge_memory(gpu)) for gpu in cards]


def run_program(command: tuple[str, ...]) -> tuple[int, str] | None:
    """Run a vendor's tool; return ``None`` when it is not installed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} gave no answer within {PROGRAM_TIMEOUT_S:g} s"
    except OSError:
        return None
    return done.returncode, done.stdout.decode(errors="replace")


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """Parse ``nvidia-smi --query-gpu=... --format=csv``, whatever the order of its columns."""
    return [
        Gpu(
            vendor="nvidia",
            name=cell["name"],
            memory_mib=parse_leading_number(cell.get("memory.total", "")),
            driver=cell.get("driver_version") or None,
            capability=_capability(cell.get("compute_cap", "")),
            slot=parse_slot(cell.get("pci.bus_id", "")),
        )
        for cell in parse_rows(text, "name")
    ]


def parse_rows(text: str, column: str) -> list[dict[str, str]]:
    """Return the rows that ``nvidia-smi`` printed as CSV, each by the titles of the columns, of which one is given."""
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    head = next((index for index, row in enumerate(rows) if column in row), None)
    if head is None:
        return []
    # "memory.total [MiB]": the unit is part of the column's title.
    titles = [title.split("[")[0].strip() for title in rows[head]]
    matching = (row for row in rows[head + 1 :] if len(row) == len(titles))
    return [dict(zip(titles, (value.strip() for value in row))) for row in matching]


def parse_rocm_smi(text: str) -> list[Gpu]:
    """Parse ``rocm-smi ... --json``; the spelling of its keys differs between releases."""
    start = text.find("{")
    try:
        answer, __ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else ({}, 0)
    except ValueError:
        return []
    driver = str(answer.get("system", {}).get("Driver version", "")) or None
    cards = []
    for card in sorted(key for key in answer if re.fullmatch(r"card\d+", key)):
        values = {key.lower(): str(value) for key, value in answer[card].items()}
        size_bytes = values.get("vram total memory (b)", "")
        names = [values.get(key, "") for key in ("card series", "card model", "card sku", "device name")]
        cards.append(
            Gpu(
                vendor="amd",
                name=next((name for name in names if name and not name.startswith(("0x", "N/A"))), "AMD GPU"),
                memory_mib=int(size_bytes) // MIB if size_bytes.isdigit() else None,
                driver=driver,
                slot=parse_slot(values.get("pci bus", "")),
            )
        )
    return cards


def read_kfd(root: str) -> list[Gpu]:
    """Return the GPUs that the amdgpu driver offers for computing, from ``/sys/class/kfd``."""
    cards = []
    for node in sorted(glob.glob(os.path.join(root, "sys/class/kfd/kfd/topology/nodes/*"))):
        properties = _properties(os.path.join(node, "properties"))
        if properties.get("simd_count", 0) == 0:
            continue  # a CPU
        banks = [_properties(path) for path in glob.glob(os.path.join(node, "mem_banks/*/properties"))]
        # heap types 1 and 2 are the card's own memory, visible to the processor or not (kfd_sysfs.h)
        size_bytes = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in (1, 2))
        location = properties.get("location_id", 0)
        slot = f"{properties.get('domain', 0):04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"
        cards.append(
            Gpu(
                vendor="amd",
                name=_text(os.path.join(node, "name")) or "AMD GPU",
                memory_mib=size_bytes // MIB or None,
                driver="amdgpu",
                slot=slot,
            )
        )
    return cards


def read_pci(root: str) -> list[Gpu]:
    """Return every graphics card on the PCI bus, with the kernel driver that is bound to it."""
    cards = []
    for device in sorted(glob.glob(os.path.join(root, "sys/bus/pci/devices/*"))):
        vendor = PCI_VENDORS.get(_text(os.path.join(device, "vendor")))
        if vendor is None or not _text(os.path.join(device, "class")).startswith(PCI_CLASSES):
            continue
        driver = os.path.join(device, "driver")
        size_bytes = _text(os.path.join(device, "mem_info_vram_total"))
        identity = (_text(os.path.join(device, "vendor"))[2:], _text(os.path.join(device, "device"))[2:])
        cards.append(
            Gpu(
                vendor=vendor,
                name=pci_name(root, *identity) or f"{vendor} {':'.join(identity)}",
                memory_mib=int(size_bytes) // MIB if size_bytes.isdigit() else None,
                driver=os.path.basename(os.readlink(driver)) if os.path.islink(driver) else None,
                slot=os.path.basename(device),
            )
        )
    return cards


def pci_name(root: str, vendor: str, device: str) -> str:
    """Return a card's name from the host's ``pci.ids``, or an empty string."""
    for path in PCI_IDS_FILES:
        try:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
                return _name_in_ids(stream, vendor, device)
        except OSError:
            continue
    return ""


def _name_in_ids(lines: Any, vendor: str, device: str) -> str:
    inside = False
    for line in lines:
        if line.startswith(vendor + "  "):
            inside = True
        elif inside and line.startswith("\t" + device + "  "):
            return str(line).split("  ", 1)[1].strip()
        elif inside and line[:1] not in ("\t", "#"):
            return ""
    return ""


def _nvidia(run: Runner) -> tuple[list[Gpu], str]:
    """Return the cards that NVIDIA's driver offers, and the problem of a card that is not among them."""
    answer = run(NVIDIA_SMI[0])
    if answer is not None and answer[0] == INVALID_ARGUMENT:
        answer = run(NVIDIA_SMI[1])
    if answer is None:
        return [], "nvidia-smi is not installed"
    code, text = answer
    if code != 0:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return [], f"nvidia-smi says: {lines[0] if lines else f'nothing, with exit code {code}'}"
    return parse_nvidia_smi(text), "nvidia-smi does not list it"


def _amd(run: Runner, root: str, on_bus: list[Gpu]) -> list[Gpu]:
    answer = run(ROCM_SMI)
    cards = parse_rocm_smi(answer[1]) if answer is not None and answer[0] == 0 else []
    cards = cards or read_kfd(root)
    by_slot = {gpu.slot: gpu for gpu in on_bus}
    for gpu in cards:
        bare = by_slot.get(gpu.slot)
        if bare is None:
            continue
        gpu.memory_mib = gpu.memory_mib or bare.memory_mib
        # kfd names a card by its chip ("navi31"), pci.ids by its product name
        if gpu.driver == "amdgpu" and ":" not in bare.name:
            gpu.name = bare.name
    return cards


def _judge_bare(gpu: Gpu, nvidia_problem: str) -> Gpu:
    """Decide whether a card that only the PCI bus shows can be used."""
    if gpu.vendor == "intel" and gpu.slot == INTEL_INTEGRATED_SLOT:
        gpu.why = "integrated graphics, which shares the processor's memory: the processor is used instead"
    elif gpu.vendor == "intel" and gpu.driver in ("i915", "xe"):
        return gpu
    elif gpu.driver == "vfio-pci":
        gpu.why = "assigned to virtual machines (driver vfio-pci); assign it to the host to use it here"
    elif gpu.driver == "nouveau":
        gpu.why = "driven by nouveau, which cannot compute; install NVIDIA's own driver and restart"
    elif gpu.driver is None:
        gpu.why = "hardware present, no driver; install the vendor's driver and restart"
    elif gpu.vendor == "nvidia":
        gpu.why = f"{nvidia_problem}; install or repair NVIDIA's driver and its tools"
    elif gpu.vendor == "amd":
        gpu.why = f"driver {gpu.driver} offers it for display only (not in /sys/class/kfd); see AMD's list for ROCm"
    else:
        gpu.why = f"driver {gpu.driver} cannot compute; it needs i915 or xe"
    gpu.usable = False
    return gpu


def _judge_memory(gpu: Gpu) -> Gpu:
    if gpu.usable and gpu.memory_mib is not None and gpu.memory_mib < LEAST_MEMORY_MIB:
        gpu.usable = False
        gpu.why = f"only {gpu.memory_mib} MiB of memory; models need {LEAST_MEMORY_MIB} MiB at the least"
    return gpu


def _judge_capability(gpu: Gpu) -> Gpu:
    least = gpu_support.least_capability(gpu.vendor)
    if gpu.usable and is_older(gpu.capability or "", least):
        gpu.usable = False
        gpu.why = f"compute capability {gpu.capability}, and no build of PyTorch has code below {least}"
    return gpu


def _capability(text: str) -> str | None:
    return text if re.fullmatch(r"\d+\.\d+", text) else None


def parse_slot(text: str) -> str:
    """Return a PCI address (``00000000:01:00.0`` or ``0000:01:00.0``) as the kernel writes it."""
    match = re.fullmatch(r"(?:0000)?([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])", text.strip().lower())
    return ":".join(match.groups()) if match else ""


def parse_leading_number(text: str) -> int | None:
    """Return the number that a text begins with, such as that of ``512 MiB``; ``None`` where there is none."""
    match = re.match(r"\d+", text)
    return int(match.group()) if match else None


def _properties(path: str) -> dict[str, int]:
    words = [line.split() for line in _text(path).splitlines()]
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""
