# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a host's ComfyUI and Ollama offer what the studio's catalogue of models names, and that it is intact.

What is not fetched yet is noted, and is no failure: a download may take hours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words, shorten
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one
from ansible_collections.noslop.studio.plugins.module_utils.models import record, sample
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Share

_TIMEOUT_S = 20.0
_PULL = "noslop-driver models pull"


@dataclass(frozen=True)
class Catalogue:
    """The models of a studio: paths of files below ComfyUI's share, which ``account`` reads, and names of Ollama's."""

    files: Sequence[str] = ()
    ollama: Sequence[str] = ()
    share: str = ""
    account: Account | None = None


NO_MODELS = Catalogue()


def check_comfyui_models(
    checks: Checks, catalogue: Catalogue, ask: Callable[[str, Sequence[str]], tuple[Any, str]], rerun_step: str
) -> None:
    """Check that ComfyUI offers every file of the catalogue that is on the share.

    Args:
        checks: where the results go.
        catalogue: the studio's models.
        ask: returns ComfyUI's list of a folder, once these names are in it or the time is over; or an error.
        rerun_step: what to do where ComfyUI does not see the share.
    """
    if not catalogue.files:
        return
    outcome = run_one(
        lambda: [path for path in catalogue.files if os.path.isfile(os.path.join(catalogue.share, path))],
        catalogue.account,
        _TIMEOUT_S,
    )
    there: dict[str, list[str]] = {}
    for path in outcome.value or []:
        folder, __, name = path.partition("/")
        there.setdefault(folder, []).append(name)
    problems = [outcome.error] if outcome.error else []
    for folder, names in there.items():
        listed, error = ask(folder, names)
        lacking = [] if error else [f"{folder}/{name}" for name in names if name not in (listed or [])]
        problems += [error] if error else []
        problems += [f"does not offer {enumerate_words(lacking)}"] if lacking else []
    count = sum(map(len, there.values()))
    checks.add(
        "services.comfyui_models",
        not problems,
        share="comfyui_models",
        seen=shorten("; ".join(problems)) or f"offers all files of the catalogue that are on the share ({count})",
        expected="ComfyUI offers every file of the catalogue that is on the share",
        todo=(
            "see whether the folder is one of ComfyUI's; if not, correct it in noslop_models and run "
            f"'{_PULL}'; else {rerun_step}"
        ),
    )
    if not outcome.error:
        _note_missing(checks, [path for path in catalogue.files if path not in outcome.value])


def note_ollama_models(checks: Checks, catalogue: Catalogue, listed: Sequence[str]) -> None:
    """Note the models of the catalogue that Ollama does not list."""
    _note_missing(checks, [name for name in catalogue.ollama if name not in listed])


def check_intact(checks: Checks, shares: Mapping[str, Share], directory: str = record.DIRECTORY) -> None:
    """Check that the daily check noticed no damage. Adds nothing where it has not run yet.

    Args:
        checks: where the result goes.
        shares: the shares of models, by name.
        directory: the record's.
    """
    checked = record.read(directory, record.CHECKED)
    damaged = sample.read_damaged(directory, shares)
    if not checked and not damaged:
        return
    last = datetime.fromtimestamp(max((entry.verified_at for entry in checked.values()), default=0), timezone.utc)
    checks.add(
        "services.models_intact",
        not damaged,
        seen="; ".join(damage.message for damage in damaged)
        or f"{len(checked)} files are what they were, the last one was read on {last:%Y-%m-%d %H:%M} UTC",
        expected="the daily check reads no model that is damaged",
        todo=f"move {enumerate_words(damage.path for damage in damaged)} away on {checks.host}, and run '{_PULL}'",
        details={"damaged": [damage.path for damage in damaged]},
    )


def _note_missing(checks: Checks, missing: Sequence[str]) -> None:
    if missing:
        checks.note(
            "services.models_fetched",
            seen=f"not fetched yet: {enumerate_words(missing)}. Run '{_PULL}'",
            expected="every model of the catalogue is fetched",
        )
