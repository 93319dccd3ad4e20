# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from noslop_driver.commands.diagnosis_view import describe_cause
from noslop_driver.diagnosis.cause import Cause, Layer, Remedy


@pytest.mark.parametrize(
    ("host", "what", "text"),
    [
        ("server", "nfs-server.service is stopped", "server: nfs-server.service is stopped"),
        ("worker1", "worker1 cannot compute on RTX", "worker1 cannot compute on RTX"),
        ("worker1", "worker1's card is lost", "worker1's card is lost"),
        ("worker", "no route to worker1", "worker: no route to worker1"),
        ("nfs", "nfs.example.com is off", "nfs: nfs.example.com is off"),
        ("server", "there is no route to the server.", "there is no route to the server."),
    ],
)
def test_host_is_in_front_of_a_cause_that_does_not_name_it(host: str, what: str, text: str) -> None:
    cause = Cause("unit.stopped", host, Layer.SERVER, what, [], Remedy("systemctl start it"))
    assert describe_cause(cause) == text
