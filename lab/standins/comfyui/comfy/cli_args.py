# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line: the original's flags that an installation may use. Any other flag is an error."""

from __future__ import annotations

import argparse
import os

from app.behaviour import behaviour

LISTEN_EVERYWHERE = "0.0.0.0,::"
DATABASE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "user", "comfyui.db"))


def directory(path: str) -> str:
    """Return a flag's value as a directory. Raises an error unless it exists and is readable."""
    try:
        os.listdir(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    return path


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of main.py."""
    parser = argparse.ArgumentParser(description="A stand-in for ComfyUI, made for NoSlop's lab. It runs no model.")
    add = parser.add_argument
    add("--listen", default="127.0.0.1", metavar="IP", nargs="?", const=LISTEN_EVERYWHERE)
    add("--port", type=int, default=8188)
    add("--base-directory", help="where models, custom_nodes, input, output, temp and user are")
    add("--extra-model-paths-config", metavar="PATH", nargs="+", action="append")
    for name in ("output", "temp", "input"):
        add(f"--{name}-directory", help="overrides --base-directory")
    add("--user-directory", type=directory, help="overrides --base-directory; must exist")
    add("--database-url", default=f"sqlite:///{DATABASE}", help="stays in the program's own tree unless given")
    add("--preview-method", choices=["none", "auto", "latent2rgb", "taesd"], default="none")
    add("--preview-size", type=int, default=512)
    add("--cuda-device", type=int, metavar="DEVICE_ID")
    add("--reserve-vram", type=float)
    add("--max-upload-size", type=float, default=100)
    add("--enable-cors-header", nargs="?", const="*", metavar="ORIGIN")
    add("--whitelist-custom-nodes", nargs="+", default=[])
    add("--verbose", default="INFO", const="DEBUG", nargs="?")
    add("--cache-lru", type=int, default=0)
    memory = parser.add_mutually_exclusive_group()
    for flag in ("--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu"):
        memory.add_argument(flag, action="store_true")
    for flag in (
        "--async-offload",
        "--auto-launch",
        "--cache-none",
        "--deterministic",
        "--disable-all-custom-nodes",
        "--disable-api-nodes",
        "--disable-auto-launch",
        "--disable-cuda-malloc",
        "--disable-metadata",
        "--disable-mmap",
        "--disable-smart-memory",
        "--disable-xformers",
        "--dont-print-server",
        "--enable-compress-response-body",
        "--log-stdout",
        "--mmap-torch-files",
        "--multi-user",
        "--quick-test-for-ci",
        "--use-pytorch-cross-attention",
    ):
        add(flag, action="store_true")
    if behaviour.is_recent:
        add("--enable-assets", action="store_true")
        add("--models-directory", type=directory, help="overrides --base-directory; must exist")
    else:
        parser.set_defaults(enable_assets=False, models_directory=None)
    return parser


args = make_parser().parse_args()
