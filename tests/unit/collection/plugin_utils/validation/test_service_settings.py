# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which settings of Ollama and ComfyUI are refused, and that each message names what to do."""

from __future__ import annotations

import re

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import service_settings
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.declared_variables import list_declared_variables

BOOLEAN = "wants true or false, without quotes"


@pytest.mark.parametrize(
    ("program", "name", "value", "expected"),
    [
        ("ollama", "OLLAMA_FLASH_ATENTION", True, "Did you mean OLLAMA_FLASH_ATTENTION?"),
        ("ollama", "PATH", "/bin", "goes into ollama_environment"),
        ("ollama", "OLLAMA_HOST", "0.0.0.0", "set ollama_listen_address and ollama_port"),
        ("ollama", "OLLAMA_NOPRUNE", True, "is always 1"),
        ("ollama", "OLLAMA_FLASH_ATTENTION", "no", f"is the text 'no'; Ollama {BOOLEAN}"),
        ("ollama", "OLLAMA_FLASH_ATTENTION", 1, BOOLEAN),
        ("ollama", "OLLAMA_NUM_PARALLEL", True, "a whole number from 0"),
        ("ollama", "OLLAMA_NUM_PARALLEL", "4", "a whole number from 0"),
        ("ollama", "OLLAMA_KEEP_ALIVE", "five minutes", "a time like 30s"),
        ("ollama", "OLLAMA_KEEP_ALIVE", -2, "a whole number from -1"),
        ("ollama", "OLLAMA_KV_CACHE_TYPE", "q5", "one of f16, q8_0, q4_0"),
        ("ollama", "OLLAMA_ORIGINS", ["https://a", "b\nExecStart=/bin/sh"], "a list of texts"),
        ("ollama", "OLLAMA_ORIGINS", [], "a list of texts"),
        ("ollama", "OLLAMA_VULKAN", True, "needs Ollama 0.12.6 or newer, and 0.12.0 is to be installed"),
        ("comfyui", "--lowvram", True, "Did you mean lowvram?"),
        ("comfyui", "previewmethod", "auto", "Did you mean preview-method?"),
        ("comfyui", "port", 80, "set comfyui_port"),
        ("comfyui", "user-directory", "/srv", "set comfyui_state_dir"),
        ("comfyui", "deterministic", "yes", f"ComfyUI {BOOLEAN}"),
        ("comfyui", "fast", ["everything"], "a list of fp16_accumulation"),
        ("comfyui", "reserve-vram", -1, "a number from 0"),
        ("comfyui", "extra-model-paths-config", "here.yaml", "an absolute path"),
        ("comfyui", "enable-assets", True, "needs ComfyUI 0.33.0 or newer, and 0.12.0"),
        ("comfyui", "highvram", True, "highvram exclude each other (memory)"),
    ],
)
def test_setting_that_cannot_work_is_refused(program: str, name: str, value: object, expected: str) -> None:
    (problem,) = service_settings.find_problems(program, {name: value}, "0.12.0", own=["cpu"] * (program == "comfyui"))

    assert f"{service_settings.PROGRAMS[program].variable}" in problem
    assert name in problem
    assert expected in problem


@pytest.mark.parametrize(
    ("program", "version", "values"),
    [
        ("ollama", "0.32.7", {"OLLAMA_FLASH_ATTENTION": False, "OLLAMA_KEEP_ALIVE": -1, "OLLAMA_DEBUG": 2}),
        ("ollama", "0.32.7", {"OLLAMA_KEEP_ALIVE": "1h30m", "CUDA_VISIBLE_DEVICES": "0,1", "OLLAMA_VULKAN": True}),
        ("ollama", "0.32.7", {"OLLAMA_ORIGINS": ["https://a.lan", "app://*"], "HIP_VISIBLE_DEVICES": 1}),
        ("comfyui", "v0.33.0", {"lowvram": True, "highvram": False, "reserve-vram": 1.5, "enable-assets": True}),
        ("comfyui", "2f35f4a08176d993cded35dac3332be4f7287f41", {"enable-assets": True, "preview-method": "none"}),
        ("comfyui", "v0.3.64", {"fast": True, "verbose": "DEBUG", "extra-model-paths-config": ["/srv/a b.yaml"]}),
        ("comfyui", "v0.3.64", {"fast": ["cublas_ops"], "enable-cors-header": "https://studio.lan", "cache-lru": 0}),
    ],
)
def test_documented_settings_pass(program: str, version: str, values: dict[str, object]) -> None:
    assert service_settings.find_problems(program, values, version) == []


def test_one_name_in_two_variables_is_refused() -> None:
    (problem,) = service_settings.find_problems("ollama", {"OLLAMA_MAX_QUEUE": 8}, others=["OLLAMA_MAX_QUEUE"])

    assert problem == "ollama_settings.OLLAMA_MAX_QUEUE is in ollama_environment too: leave it in one of them."


@pytest.mark.parametrize("program", service_settings.PROGRAMS)
def test_data_names_kinds_and_variables_that_exist(program: str) -> None:
    declared, _ = list_declared_variables()
    for name, setting in service_settings.read_settings(program).items():
        assert bool(setting.kind) != bool(setting.instead), name
        assert set(re.findall(r"\b(?:noslop|ollama|comfyui)_\w+", setting.instead)) <= declared, name
        # Each kind is one that has a rule: an unusable value is refused, not an error.
        assert service_settings.find_problems(program, {name: object()}), name


def test_environment_of_an_existing_program_is_offered_as_settings() -> None:
    environment = {"OLLAMA_FLASH_ATTENTION": "no", "OLLAMA_DEBUG": "0", "OLLAMA_NOHISTORY": "False", "HF_TOKEN": "x"}
    environment |= {"OLLAMA_KEEP_ALIVE": "30m", "OLLAMA_HOST": "0.0.0.0", "OLLAMA_ORIGINS": "https://a,https://b"}

    offer = service_settings.offer_settings("ollama", environment)

    assert offer.settings == {
        "OLLAMA_DEBUG": 0,
        "OLLAMA_FLASH_ATTENTION": True,  # every text that is no boolean counts as true
        "OLLAMA_KEEP_ALIVE": "30m",
        "OLLAMA_NOHISTORY": False,
        "OLLAMA_ORIGINS": "https://a,https://b",
    }
    assert offer.own == {"OLLAMA_HOST": "set ollama_listen_address and ollama_port"}
    assert service_settings.find_problems("ollama", offer.settings, "0.32.7") == []
