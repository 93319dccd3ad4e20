# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test where models of other programs belong, and that none gets a name that another file has."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import adoption, foreign_models
from ansible_collections.noslop.studio.plugins.module_utils.models.adoption import Entry, Offer
from hypothesis import given
from hypothesis import strategies as st

TOP = "/home/artist/models"


@pytest.mark.parametrize(
    ("path", "top", "folder"),
    [
        ("checkpoints/sdxl/a.safetensors", TOP, "checkpoints/sdxl"),
        ("unet/a.gguf", TOP, "diffusion_models"),
        ("Stable-diffusion/a.ckpt", TOP, "checkpoints"),
        ("models/Lora/people/a.safetensors", "/opt/webui", "loras/people"),
        ("VAE/a.pt", TOP, "vae"),
        ("ESRGAN/4x.pth", TOP, "upscale_models"),
        ("ControlNet/a.safetensors", TOP, "controlnet"),
        ("embeddings/a.pt", "/opt/webui", "embeddings"),
        ("sdxl/main/a.safetensors", "/opt/invokeai/models", "checkpoints"),
        ("a.safetensors", "/opt/webui/models/Lora/", "loras"),
        ("people/a.safetensors", "/opt/webui/models/Lora", "loras/people"),
        ("a.safetensors", "/home/artist/Downloads", ""),
    ],
)
def test_directories_of_other_programs_name_the_folder(path: str, top: str, folder: str) -> None:
    assert adoption.find_folder(path, top) == folder


def offer(path: str, digest: str = "a") -> Offer:
    return Offer(path, 5, digest * 64, "1-1")


def test_each_file_gets_a_name_of_its_own_and_none_is_replaced() -> None:
    offers = [
        offer("loras/there.safetensors", "a"),
        offer("loras/Taken.safetensors", "b"),
        offer("loras/listed.safetensors", "c"),
        offer("loras/twice.safetensors", "d"),
        offer("lora/twice.safetensors", "d"),
        offer("lora/twice.safetensors", "e"),
        offer("loras/wanted.ckpt", "f"),
        offer("somewhere.safetensors", "1"),
        offer("loras/.hidden.safetensors", "2"),
    ]
    decisions = adoption.decide(
        offers,
        TOP,
        present={"a" * 64: "loras/another name"},
        names=["loras/another name", "loras/taken.safetensors"],
        catalogue=[Entry("loras/listed.safetensors"), Entry("checkpoints/x.ckpt", "f" * 64)],
    )
    assert [(one.state, one.target, one.listed) for one in decisions] == [
        ("present", "loras/another name", False),
        ("new", "loras/Taken-bbbbbbbb.safetensors", False),
        ("new", "loras/listed-cccccccc.safetensors", False),
        ("new", "loras/twice.safetensors", False),
        ("present", "loras/twice.safetensors", False),
        ("new", "loras/twice-eeeeeeee.safetensors", False),
        ("new", "checkpoints/x.ckpt", True),
        ("left", "", False),
        ("left", "", False),
    ]
    assert decisions[6].message == "the catalogue names it; a pickle, which can run code when it is loaded"
    assert "--folder" in decisions[7].message


def test_folder_of_the_user_counts_for_all() -> None:
    decisions = adoption.decide([offer("vae/a.pt")], TOP, present={}, names=[], folder="loras/x/")
    assert [one.target for one in decisions] == ["loras/x/a.pt"]


@given(
    st.lists(st.tuples(st.sampled_from(["loras/a.pt", "Lora/A.pt", "vae/a.pt", "lora/b.pt"]), st.sampled_from("abcd"))),
    st.lists(st.sampled_from(["loras/a.pt", "LORAS/A.PT", "vae/a.pt", "loras/a-aaaaaaaa.pt"])),
)
def test_no_two_new_files_and_no_file_of_the_share_have_one_name(
    offers: list[tuple[str, str]], names: list[str]
) -> None:
    decisions = adoption.decide([offer(*one) for one in offers], TOP, present={}, names=names)
    targets = [one.target.lower() for one in decisions if one.state == "new"]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {name.lower() for name in names}


def test_manifests_of_ollama_name_its_models() -> None:
    paths = [
        "manifests/registry.ollama.ai/library/llama3.2/1b",
        "models/manifests/registry.ollama.ai/artist/painter/latest",
        "manifests/hf.co/owner/name/Q4_K_M",
        "blobs/sha256-1",
        "manifests/short",
    ]
    assert foreign_models.find_ollama_models(paths) == [
        "llama3.2:1b", "artist/painter:latest", "hf.co/owner/name:Q4_K_M",
    ]  # fmt: skip
