# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run what a host does with its models by itself: read the warm ones at boot, compare a sample each day.

The role ``model_jobs`` installs this file with those that it imports, and systemd runs it:
``python3 -I /opt/noslop/models warm SETTINGS``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.models import sample, warm
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: Exit codes: a model is damaged or unreadable; a share is away, and a later try may succeed (sysexits.h).
PROBLEM, TRY_LATER = 1, 75


def main(words: Sequence[str]) -> int:
    """Run one job. Return the exit code.

    Args:
        words: ``warm`` or ``verify``, and the path of the settings that the role wrote.
    """
    job, path = words
    with open(path, encoding="utf-8") as stream:
        settings: dict[str, Any] = json.load(stream)
    try:
        return _warm(settings) if job == "warm" else _verify(settings)
    except (access.ShareError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return TRY_LATER


def open_shares(listed: Sequence[Mapping[str, Any]], studio_id: str, names: Sequence[str]) -> dict[str, warm.Share]:
    """Return those of the shares that have these names, and are the studio's.

    Args:
        listed: shares as the lookup returns them: ``name``, ``path`` and ``owner``, and ``view``, where this host
            reads a share through a cache.
        studio_id: the studio's.
        names: which of them.

    Raises:
        ShareError: one is missing, does not answer, or is another share.
    """
    shares = {}
    for one in listed:
        if one["name"] in names:
            account = access.require_share_owner(one["owner"])
            access.check_marker(one["path"], one["name"], studio_id, account)
            shares[one["name"]] = warm.Share(one["name"], one.get("view") or one["path"], account)
    return shares


def parse_models(values: Sequence[Mapping[str, Any]]) -> list[warm.Model]:
    """Return warm models as the lookup returns them: ``path``, or ``ollama``."""
    return [warm.Model(str(value.get("path") or ""), str(value.get("ollama") or "")) for value in values]


def _warm(settings: Mapping[str, Any]) -> int:
    models = parse_models(settings["warm"])
    shares = open_shares(settings["shares"], settings["studio_id"], [model.share for model in models])
    rows = warm.warm(models, shares, warm.read_limit(float(settings["memory_percent"])))
    for row in rows:
        memory = f"{row.resident} of {row.size} bytes in memory, {row.read} read"
        sys.stdout.write(f"{row.path}: {row.state}, {memory}{f': {row.message}' if row.message else ''}\n")
    return PROBLEM if any(row.state == warm.FAILED for row in rows) else 0


def _verify(settings: Mapping[str, Any]) -> int:
    catalogue = sample.Catalogue({file["path"]: file["sha256"] for file in settings["files"]}, settings["ollama"])
    names = [name for name, models in ((warm.FILES, catalogue.files), (warm.BLOBS, catalogue.ollama)) if models]
    shares = open_shares(settings["shares"], settings["studio_id"], names)
    result = sample.check(catalogue, shares, int(settings["daily_bytes"]), settings["record_directory"])
    read = f"{len(result.verified)} files are what they were"
    sys.stdout.write(f"{read} ({result.size} bytes were read), {len(result.damaged)} are damaged.\n")
    for damage in result.damaged:
        sys.stderr.write(f"{damage.message}\n")
    return PROBLEM if result.damaged else 0
