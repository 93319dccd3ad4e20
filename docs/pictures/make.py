# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw docs/pictures: what `discover`, `plan`, `deploy` in the middle and `doctor` print, as SVG.

The driver's own functions print data of `docs/pictures/data` on a console that keeps it. `origin` in each file says
whether the data was recorded or made by hand. The same data gives the same bytes.

python docs/pictures/make.py            (make docs, make pictures)
python docs/pictures/make.py --check    reports whether they are stale, and changes nothing
python docs/pictures/make.py --record DIR TASK
    takes the data of deploy from a record (inventories/<studio>/.noslop/records/<time>), up to the start of TASK
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures"
DATA = PICTURES / "data"
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from ansible_collections.noslop.studio.plugins.module_utils import studio  # noqa: E402 - after the path from above
from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: E402 - as what follows
from rich.text import Text  # noqa: E402

from noslop_driver.ansible.events import TASK_END_KINDS, Event, Outcome, Status  # noqa: E402
from noslop_driver.commands.diagnosis_view import print_causes  # noqa: E402
from noslop_driver.commands.discover import print_discovery  # noqa: E402
from noslop_driver.commands.draft import plan_hosts  # noqa: E402
from noslop_driver.diagnosis.case import Case, HostCase  # noqa: E402
from noslop_driver.diagnosis.diagnose import diagnose  # noqa: E402
from noslop_driver.diagnosis.evidence import read_evidence  # noqa: E402
from noslop_driver.hosts.discovery import Discovery, print_counts  # noqa: E402
from noslop_driver.hosts.gather import GatheredHosts  # noqa: E402
from noslop_driver.models import Host, StudioSettings  # noqa: E402
from noslop_driver.output.progress import Progress  # noqa: E402
from noslop_driver.output.terminal import SafeConsole, Terminal  # noqa: E402
from noslop_driver.phases import DEPLOYMENT, format_title  # noqa: E402
from noslop_driver.planning.view import print_plan  # noqa: E402

WIDTH = 118
"""Columns of the pictures: the longest lines of these commands break once."""
RUNNING = "running"
"""The state of a task that has not ended on a host."""

_TEXT = '<g class="{unique_id}-matrix"'
"""The element with the text, whose indentation librsvg would drop without being told."""
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


@dataclass
class ReplayClock:
    """The time in a run that is replayed."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Return the seconds since the begin of the run."""
        return self.now_s


class PictureConsole(SafeConsole):
    """A console that keeps what is printed, and breaks long lines as a terminal of this width does."""

    def __init__(self) -> None:
        # Without the environment, in which NO_COLOR and the like would change the picture.
        super().__init__(
            file=io.StringIO(),
            record=True,
            width=WIDTH,
            height=100,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            highlight=False,
            emoji=False,
            no_color=False,
            _environ={},
        )

    def print(self, *objects: Any, soft_wrap: bool | None = None, **keywords: Any) -> None:  # noqa: ANN401
        """Print with lines of the console's width: a picture has no terminal that breaks them."""
        super().print(*objects, soft_wrap=False, **keywords)


def start_picture(words: str) -> tuple[Terminal, PictureConsole]:
    """Return a terminal that prints into a new picture, below the command line."""
    terminal, console = Terminal(), PictureConsole()
    terminal.out = terminal.err = console
    console.print(Text(f"$ noslop-driver {words}", style="bold"))
    return terminal, console


def export(console: PictureConsole, name: str) -> str:
    """Return the picture as SVG, with fonts of the reader's computer: a document loads nothing from elsewhere."""
    code_format = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace(_TEXT, f'{_TEXT} xml:space="preserve"')
    text = console.export_svg(title="", unique_id=f"noslop-{name}", code_format=code_format)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def draw_discover(data: Mapping[str, Any]) -> str:
    """Return the picture of a search that found machines."""
    discovery = Discovery.model_validate(data)
    terminal, console = start_picture("discover --network 192.168.1.0/24")
    for line in discovery.tried:
        terminal.print(line)
    print_counts(discovery, terminal)
    print_discovery(discovery, terminal)
    return export(console, "discover")


def draw_plan(data: Mapping[str, Any]) -> str:
    """Return the picture of the plan that the driver makes of hosts."""
    hosts = [Host.model_validate(host) for host in data["hosts"]]
    terminal, console = start_picture("plan --network 192.168.1.0/24 --server server")
    plan = plan_hosts(GatheredHosts(hosts, []), StudioSettings.model_validate(data["settings"])).plan
    print_plan(plan, terminal)
    return export(console, "plan")


def draw_deploy(data: Mapping[str, Any]) -> str:
    """Return the picture of a deployment in the middle: finished phases, and the live table of the current one."""
    terminal, console = start_picture("deploy")
    clock = ReplayClock()
    for number, phase in enumerate(data["phases"], 1):
        progress = Progress(terminal, clock=clock, draws=False)
        progress.start_phase(format_title(number, DEPLOYMENT))
        for task in phase["tasks"]:
            for event in _list_starts(task):
                progress.show_event(event)
            clock.now_s += task["seconds"]
            for event in _list_ends(task):
                progress.show_event(event)
        if any(RUNNING in task["hosts"].values() for task in phase["tasks"]):
            console.print(progress.render_table())
        else:
            progress.end_phase(Outcome(Status.OK, 0))
    return export(console, "deploy")


def draw_doctor(data: Mapping[str, Any]) -> str:
    """Return the picture of the causes that doctor finds in the evidence of hosts."""
    terminal, console = start_picture("doctor")
    evidence, errors = read_evidence(data["evidence"])
    hosts = {
        name: HostCase(name, host["address"], "artist", 22, frozenset(host["groups"]), evidence.get(name))
        for name, host in data["hosts"].items()
    }
    shares = studio.shares({"noslop_studio_id": "studio"})
    case = Case(hosts, "nfs", shares, data["failed"], "noslop-driver deploy --inventory inventories/studio")
    print_causes(diagnose(case), errors, terminal)
    return export(console, "doctor")


_DRAWINGS = {"discover": draw_discover, "plan": draw_plan, "deploy": draw_deploy, "doctor": draw_doctor}


def draw_all() -> dict[str, str]:
    """Return the text of each picture, by the name of its file."""
    return {f"{name}.svg": draw(read_data(name)) for name, draw in _DRAWINGS.items()}


def read_data(name: str) -> dict[str, Any]:
    """Return the data of a picture, without where it is from."""
    data: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    del data["origin"]
    return data


def _list_starts(task: Mapping[str, Any]) -> Iterator[Event]:
    yield Event("task", "", task=task["task"])
    for host in task["hosts"]:
        yield Event("start", "", host=host, task=task["task"])


def _list_ends(task: Mapping[str, Any]) -> Iterator[Event]:
    for host, state in task["hosts"].items():
        if state != RUNNING:
            kind = "ok" if state == "changed" else state
            yield Event(kind, "", host=host, task=task["task"], changed=state == "changed")


def shorten_record(lines: Sequence[Mapping[str, Any]], until: str) -> dict[str, Any]:
    """Return the data of deploy from the events of a record, up to the first host that starts a task.

    Args:
        lines: the events, as `events.jsonl` of a record has them.
        until: a part of that task's name.

    Raises:
        ValueError: no host starts such a task.
    """
    phases: list[dict[str, Any]] = []
    times: list[datetime] = []
    for line in lines:
        if not phases or phases[-1]["name"] != line["phase"]:
            phases.append({"name": line["phase"], "tasks": []})
        tasks = phases[-1]["tasks"]
        time = datetime.fromisoformat(line["time"])
        if line["kind"] == "task":
            tasks.append({"task": line["task"], "seconds": 0.0, "hosts": {}})
            times.append(time)
        elif line["kind"] == "start" and tasks:
            tasks[-1]["hosts"][line["host"]] = RUNNING
            if until in line["task"]:
                return {"phases": phases}
        elif line["kind"] in TASK_END_KINDS and tasks:
            tasks[-1]["hosts"][line["host"]] = "changed" if line.get("changed") else line["kind"]
            tasks[-1]["seconds"] = round((time - times[-1]).total_seconds(), 1)
    raise ValueError(f"no host starts a task with {until!r} in its name")


def record(directory: Path, until: str) -> None:
    """Write the data of deploy from a record."""
    text = (directory / "events.jsonl").read_text(encoding="utf-8")
    data = shorten_record([json.loads(line) for line in text.splitlines()], until)
    recorded = {"origin": f"Recorded: the events of a deployment, up to the task {until}.", **data}
    (DATA / "deploy.json").write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


def main(check: bool) -> int:
    """Write the pictures, or report that they are stale. Return 1 where something is left to do."""
    pictures = draw_all()
    present = {path.name: path.read_text("utf-8") for path in PICTURES.glob("*.svg")}
    if pictures == present:
        return 0
    if check:
        print(f"{PICTURES.relative_to(ROOT)} is stale: run `make pictures`.")
        return 1
    for name, text in pictures.items():
        (PICTURES / name).write_text(text, "utf-8")
    print(f"wrote {PICTURES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        record(Path(sys.argv[2]), sys.argv[3])
    raise SystemExit(main("--check" in sys.argv[1:]))
