# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what `noslop_models_cache` may be, and which shares a host has a cache for."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import model_cache
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.model_cache import ModelCache

STORAGE = ("/mnt/noslop", "/mnt/noslop/comfyui/models", "/data/ollama")
PATH = "/var/cache/noslop-models"
GROUPS = {"storage_clients": ["w1", "w2"], "ollama": ["w1", "w2"], "comfyui": ["w1", "w2"]}


@pytest.mark.parametrize("value", [None, {}, ""])
def test_no_cache(value: object) -> None:
    assert model_cache.parse(value, STORAGE) is None


@pytest.mark.parametrize(
    ("size", "size_bytes"), [("200GB", 200 * 2**30), ("1.5T", 3 * 2**39), ("500 MB", 500 * 2**20), ("5000B", 5000)]
)
def test_size_has_a_unit(size: str, size_bytes: int) -> None:
    assert model_cache.parse({"path": PATH, "size": size}, STORAGE) == ModelCache(PATH, size_bytes)


@pytest.mark.parametrize("size", [200, "200", 1.5, True, "much", "-5GB", "0GB", "", None, "200Gb"])
def test_size_that_is_none_is_refused_with_the_way_to_write_it(size: object) -> None:
    with pytest.raises(ValueError, match=r"noslop_models_cache: size is .* 200GB"):
        model_cache.parse({"path": PATH, "size": size}, STORAGE)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cache", "absolute path"),
        ("/var/cache/../x", "absolute path"),
        ("/var/cache/with space", "absolute path"),
        ("/var/cache/new\nline", "absolute path"),
        ("/var/cache", "used by others"),
        ("/etc/cache", "operating system"),
        ("/mnt/noslop/cache", "lies in /mnt/noslop or around it"),
        ("/mnt/noslop", "lies in /mnt/noslop or around it"),
        ("/data/ollama/cache", "lies in /data/ollama or around it"),
        ("/data", "lies in /data/ollama or around it"),
        ("/var/lib/noslop/cache", "lies in /var/lib/noslop or around it"),
        ("/home/artist/cache", "lies in /home or around it"),
    ],
)
def test_path_that_no_cache_can_have_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_cache.parse({"path": path, "size": "1GB"}, STORAGE)


@pytest.mark.parametrize("value", ["/var/cache/x", 5, [], {"path": PATH}, {"path": PATH, "size": "1GB", "more": 1}])
def test_what_is_no_cache_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"Write it like noslop_models_cache: \{path: .*, size: 200GB\}"):
        model_cache.parse(value, STORAGE)


@pytest.mark.parametrize(
    ("services", "host", "provider", "shares"),
    [
        (["comfyui", "ollama"], "w2", "nfs", ["comfyui_models", "ollama_models"]),
        (["comfyui", "ollama"], "w1", "nfs", ["comfyui_models"]),
        (["comfyui"], "w2", "nfs", ["comfyui_models"]),
        (["comfyui", "ollama"], "server", "nfs", []),
        (["comfyui", "ollama"], "w2", "local", []),
        (["comfyui", "ollama"], "server", "existing", ["comfyui_models", "ollama_models"]),
        ([], "w2", "nfs", []),
    ],
)
def test_shares_that_a_host_reads_over_the_network(
    services: list[str], host: str, provider: str, shares: list[str]
) -> None:
    assert model_cache.list_shares(services, host, GROUPS, provider) == shares
