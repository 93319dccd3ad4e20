# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are the studio's, as a person or a deployment writes them down."""

from __future__ import annotations

from pathlib import Path

import pytest
from noslop_backend.core import comfyui_hosts, settings
from noslop_backend.core.comfyui_hosts import ComfyHost
from noslop_backend.core.errors import ConfigurationError


def test_names_with_addresses_are_read() -> None:
    assert comfyui_hosts.parse(" render1=10.0.0.7:9000, render-2.lan=[fd00::7]:8188 ,here=127.0.0.1,six=[::1],") == {
        "render1": ComfyHost("render1", "10.0.0.7", 9000),
        "render-2.lan": ComfyHost("render-2.lan", "fd00::7", 8188),
        "here": ComfyHost("here", "127.0.0.1", 8188),
        "six": ComfyHost("six", "::1", 8188),
    }
    assert comfyui_hosts.parse("") == {}


@pytest.mark.parametrize(
    "text",
    [
        *("render1", "=10.0.0.7", "render1=", "a b=10.0.0.7", "a=10.0.0.7:0", "a=10.0.0.7:65536", "a=10.0.0.7:"),
        # A name may lead elsewhere tomorrow, and so may what is no plain address.
        *("a=render1.lan:8188", "a=localhost", "a=http://10.0.0.7", "a=10.0.0.7/x", "a=[fe80::1%eth0]", "a=fd00::7"),
        *("a=0.0.0.0", "a=[::]", "a=224.0.0.1", "a=300.1.1.1", "a=010.0.0.7", "a=1", "a=10.0.0.7,a=10.0.0.8"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write NAME=ADDRESS|address|port"):
        comfyui_hosts.parse(text)


def test_they_are_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "backend.env"
    file.write_text('NOSLOP_STUDIO_ID="s"\nNOSLOP_COMFYUI_HOSTS="render1=10.0.0.7:8188,render2=[fd00::7]"\n')
    assert list(settings.load(file).comfyui_hosts) == ["render1", "render2"]
    file.write_text('NOSLOP_STUDIO_ID="s"\nNOSLOP_COMFYUI_HOSTS="render1=render1.lan"\n')
    with pytest.raises(ConfigurationError, match=r"NOSLOP_COMFYUI_HOSTS.*write NAME=ADDRESS:PORT"):
        settings.load(file)
