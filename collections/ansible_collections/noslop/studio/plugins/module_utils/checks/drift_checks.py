# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that what NoSlop wrote on a host is still as it was written: its files, and its table of nftables."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.host import state, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.written_files import Record, Table


def judge_files(checks: Checks, record: Record) -> None:
    """Check that each recorded file has the recorded content. Makes no check where nothing is recorded."""
    if not record.files:
        return
    problems = {path: _find_problem(path, sha256) for path, sha256 in sorted(record.files.items())}
    wrong = [f"{path} {problem}" for path, problem in problems.items() if problem]
    checks.add(
        "host.files",
        not wrong,
        seen="; ".join(wrong) or f"{len(record.files)} files are as they were written",
        expected="the units and settings that NoSlop wrote are as it wrote them",
        todo=(
            f"deploy again, which writes them anew on {checks.host} (noslop-models-* with the playbook models); "
            "what is to be different belongs into the inventory, or for a unit into `systemctl edit`"
        ),
    )


def judge_table(
    checks: Checks, table: Table | None, print_table: Callable[[], str], read_version: Callable[[], str]
) -> None:
    """Check that the kernel's table is the one that was loaded. Makes no check where none is recorded.

    Args:
        checks: where the result goes.
        table: the recorded table.
        print_table: a function that returns the kernel's table as text.
        read_version: a function that returns the version of the program that printed it.
    """
    if table is None:
        return
    same = written_files.digest(print_table().encode()) == table.sha256
    if not same and read_version() != table.version:
        # Another version may write the same rules differently; the next deployment compares and records them.
        checks.note(
            "firewall.table",
            seen=f"not compared: nft was {table.version or 'another version'} when the table was loaded",
            expected="the table as it was loaded",
        )
        return
    checks.add(
        "firewall.table",
        same,
        seen="as it was loaded" if same else "the table was changed since it was loaded, in what other checks accept",
        expected="the table as it was loaded, without a rule of others",
        todo=f"run `systemctl reload-or-restart noslop-firewall` on {checks.host}, or deploy again",
    )


def read_table(checks: Checks, name: tuple[str, str]) -> None:
    """Check that the kernel has a table as it was loaded.

    Args:
        checks: where the result goes.
        name: the family and the name of the table.
    """
    judge_table(
        checks,
        written_files.read().tables.get(" ".join(name)),
        lambda: state.run_program("nft", "--stateless", "list", "table", *name),
        lambda: state.run_program("nft", "--version").strip(),
    )


def _find_problem(path: str, sha256: str) -> str:
    """Return what is wrong with a file; empty where it has this checksum."""
    try:
        with open(path, "rb") as stream:
            return "" if written_files.digest(stream.read()) == sha256 else "was changed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
