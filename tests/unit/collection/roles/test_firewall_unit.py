# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the exposure of the unit that loads the firewall, as systemd rates it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jinja2
import yaml

ROLE = Path(__file__).parents[4] / "collections/ansible_collections/noslop/studio/roles/studio_firewall"
UNIT = "noslop-firewall.service"
HIGHEST_EXPOSURE = 2.0


def test_exposure_of_the_unit_is_low(tmp_path: Path) -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701  # no HTML
    template = environment.from_string((ROLE / f"templates/{UNIT}.j2").read_text(encoding="utf-8"))
    unit = tmp_path / UNIT
    variables["__studio_firewall_bound_units"] = ["noslop-comfyui.service"]
    unit.write_text(template.render(variables), encoding="utf-8")

    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    match = re.search(rf"Overall exposure level for {UNIT}: ([\d.]+)", shown)
    assert match, shown
    print(match.group())
    assert float(match.group(1)) <= HIGHEST_EXPOSURE, shown
