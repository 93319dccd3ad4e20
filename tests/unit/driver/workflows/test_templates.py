# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what official templates need, against a table that was written from their JSON by hand."""

from __future__ import annotations

import pytest

from noslop_driver.errors import UsageError
from noslop_driver.workflows.requirements import find_requirements
from noslop_driver.workflows.templates import find_template, list_links, list_templates, read_template

FLUX_TEXTS = ("text_encoders/clip_l.safetensors", "text_encoders/t5xxl_fp16.safetensors")
T5_FP8 = "text_encoders/t5xxl_fp8_e4m3fn_scaled.safetensors"
UMT5 = "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"
AE = "vae/ae.safetensors"
#: By the name of a template: the oldest ComfyUI that it runs on, and its models.
NEEDS: dict[str, tuple[str, set[str]]] = {
    "flux_schnell": ("0.0.4", {"checkpoints/flux1-schnell-fp8.safetensors"}),
    "flux_dev_checkpoint_example": ("0.3.42", {AE, *FLUX_TEXTS, "diffusion_models/flux1-dev.safetensors"}),
    "sdxl_simple_example": (
        "0.0.1",
        {"checkpoints/sd_xl_base_1.0.safetensors", "checkpoints/sd_xl_refiner_1.0.safetensors"},
    ),
    "hidream_e1_full": (
        "0.3.29",
        {
            *(AE, T5_FP8, "diffusion_models/hidream_e1_full_bf16.safetensors"),
            *("text_encoders/clip_g_hidream.safetensors", "text_encoders/clip_l_hidream.safetensors"),
            "text_encoders/llama_3.1_8b_instruct_fp8_scaled.safetensors",
        },
    ),
    "image_qwen_image": (
        "0.4.0",
        {
            *("vae/qwen_image_vae.safetensors", "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors"),
            "diffusion_models/qwen_image_fp8_e4m3fn.safetensors",
            "loras/Qwen-Image-Lightning-8steps-V1.0.safetensors",
        },
    ),
    "image_z_image_turbo": (
        "0.11.0",
        {AE, "text_encoders/qwen_3_4b.safetensors", "diffusion_models/z_image_turbo_bf16.safetensors"},
    ),
    "wan2.1_flf2v_720_f16": (
        "0.3.31",
        {
            *(UMT5, "vae/wan_2.1_vae.safetensors", "clip_vision/clip_vision_h.safetensors"),
            "diffusion_models/wan2.1_flf2v_720p_14B_fp16.safetensors",
        },
    ),
    "video_wan2_2_5B_ti2v": (
        "0.3.46",
        {UMT5, "vae/wan2.2_vae.safetensors", "diffusion_models/wan2.2_ti2v_5B_fp16.safetensors"},
    ),
    "video_wan2_2_14B_t2v": (
        "0.16.4",
        {
            *(UMT5, "vae/wan_2.1_vae.safetensors"),
            "diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
            "diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
            "loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
            "loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
        },
    ),
    "audio_ace_step_1_t2a_song": ("0.3.35", {"checkpoints/ace_step_v1_3.5b.safetensors"}),
    "api_nano_banana_2_1_t2i": ("0.39.1", set()),
    "3d_hunyuan3d-v2.1": ("0.3.28", {"checkpoints/hunyuan_3d_v2.1.safetensors"}),
    "flux_kontext_dev_basic": (
        "0.3.42",
        {AE, T5_FP8, FLUX_TEXTS[0], "diffusion_models/flux1-dev-kontext_fp8_scaled.safetensors"},
    ),
    "image_chroma_text_to_image": ("0.3.31", {AE, T5_FP8, "diffusion_models/Chroma1-HD-fp8mixed.safetensors"}),
    "ltxv_text_to_video": ("0.3.31", {FLUX_TEXTS[1], "checkpoints/ltx-video-2b-v0.9.safetensors"}),
    "image_lotus_depth_v1_1": (
        "0.3.42",
        {"diffusion_models/lotus-depth-d-v1-1.safetensors", "vae/vae-ft-mse-840000-ema-pruned.safetensors"},
    ),
    "flux_redux_model_example": (
        "0.0.4",
        {
            *(AE, *FLUX_TEXTS, "diffusion_models/flux1-dev.safetensors"),
            *("style_models/flux1-redux-dev.safetensors", "clip_vision/sigclip_vision_patch14_384.safetensors"),
        },
    ),
    # Its LoRA for the camera is bypassed.
    "video_ltx2_t2v": (
        "0.8.0",
        {
            *("checkpoints/ltx-2-19b-dev-fp8.safetensors", "text_encoders/gemma_3_12B_it_fp4_mixed.safetensors"),
            "latent_upscale_models/ltx-2-spatial-upscaler-x2-1.0.safetensors",
            "loras/ltx-2-19b-distilled-lora-384.safetensors",
        },
    ),
    "image_flux2_fp8": (
        "0.4.0",
        {
            *("vae/flux2-vae.safetensors", "diffusion_models/flux2_dev_fp8mixed.safetensors"),
            *("text_encoders/mistral_3_small_flux2_fp8.safetensors", "loras/Flux2TurboComfyv2.safetensors"),
        },
    ),
    "hunyuan_video_text_to_video": (
        "0.3.31",
        {
            *(FLUX_TEXTS[0], "text_encoders/llava_llama3_fp8_scaled.safetensors"),
            "diffusion_models/hunyuan_video_t2v_720p_bf16.safetensors",
            "vae/hunyuan_video_vae_bf16.safetensors",
        },
    ),
}


@pytest.mark.parametrize("name", NEEDS)
def test_template_needs_the_models_of_its_running_nodes(name: str) -> None:
    template = find_template(name)
    models = find_requirements(read_template(template)).models
    assert (template.min_version, {path for model in models for path in model.paths}) == NEEDS[name]
    assert all(model.link.url.startswith("https://huggingface.co/") for model in models)


def test_every_template_can_be_read() -> None:
    templates = list_templates()
    needs = [find_requirements(read_template(template)) for template in templates]
    assert len(templates) > 600
    assert sum(bool(one.models) for one in needs) > 200
    assert all(one.classes for one in needs)


def test_template_has_a_title_too() -> None:
    template = find_template("flux_schnell")
    assert find_template(template.title.upper()) == template


def test_name_of_no_template_is_a_usage_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean flux_schnell"):
        find_template("flux_schnel")
    with pytest.raises(UsageError, match="official templates"):
        find_template("../index")


def test_models_of_all_templates_have_an_address() -> None:
    links = [link for _, link in list_links()]
    assert all(link.url and link.folder and link.name for link in links)
