# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how each command is used: one or two lines that a person can copy, at the end of `--help` and of its page.

A test parses each line with the flags of its command.
"""

from __future__ import annotations

_HUB_FILE = "hub:stabilityai/sdxl-turbo/sd_xl_turbo_1.0_fp16.safetensors"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "discover": ("noslop-driver discover", "noslop-driver discover --network 192.168.1.0/24 --json"),
    "ssh-setup": ("noslop-driver ssh-setup 192.168.1.23", "noslop-driver ssh-setup me@render1 --remove"),
    "plan": ("noslop-driver plan --network 192.168.1.0/24", "noslop-driver plan --diff --exit-code"),
    "deploy": ("noslop-driver deploy", "noslop-driver deploy --network 192.168.1.0/24 --user me --ask-become-pass"),
    "upgrade": ("noslop-driver upgrade --to comfyui=0.33.0", "noslop-driver upgrade --to ollama=0.32.7 --host worker1"),
    "host add": ("noslop-driver host add 192.168.1.23", "noslop-driver host add --again worker2"),
    "host remove": ("noslop-driver host remove worker2", "noslop-driver host remove --dead worker2"),
    "host replace": ("noslop-driver host replace worker2 192.168.1.23",),
    "host drain": ("noslop-driver host drain worker2 --timeout 3600", "noslop-driver host drain --undo worker2"),
    "host move-storage": (
        "noslop-driver host move-storage worker1",
        "noslop-driver host move-storage worker1 --undo",
    ),
    "nodes list": ("noslop-driver nodes list",),
    "nodes add": (
        "noslop-driver nodes add Impact-Pack --repo https://github.com/ltdrdata/ComfyUI-Impact-Pack",
        "noslop-driver nodes add my-nodes --repo https://example.com/my-nodes.git --host worker1",
    ),
    "nodes remove": ("noslop-driver nodes remove Impact-Pack",),
    "nodes rollback": ("noslop-driver nodes rollback", "noslop-driver nodes rollback Impact-Pack"),
    "models list": ("noslop-driver models list",),
    "models add": (
        f"noslop-driver models add {_HUB_FILE} --folder checkpoints",
        "noslop-driver models add ollama:qwen3:8b",
    ),
    "models remove": ("noslop-driver models remove loras/ink.safetensors",),
    "models restore": ("noslop-driver models restore", "noslop-driver models restore loras/ink.safetensors"),
    "models gc": ("noslop-driver models gc", "noslop-driver models gc --apply --trash-days 7"),
    "models pull": ("noslop-driver models pull", "noslop-driver models pull qwen3:8b"),
    "models need": ("noslop-driver models need workflow.json", "noslop-driver models need workflow.json --pull"),
    "models search": ("noslop-driver models search flux lora --limit 5",),
    "models verify": ("noslop-driver models verify",),
    "models warm": ("noslop-driver models warm",),
    "models bench": ("noslop-driver models bench checkpoints/painter.safetensors",),
    "models adopt": ("noslop-driver models adopt worker1:/home/me/ComfyUI/models",),
    "models dedupe": ("noslop-driver models dedupe --check", "noslop-driver models dedupe --no-hard-links"),
    "models stop": ("noslop-driver models stop",),
    "verify": ("noslop-driver verify", "noslop-driver verify --limit worker1 --json"),
    "doctor": ("noslop-driver doctor --fix", "noslop-driver doctor --bundle report.tar.gz"),
    "status": ("noslop-driver status", "noslop-driver status --cached --json"),
    "env": ("noslop-driver env worker1", "noslop-driver env worker1 --json"),
    "open": ("noslop-driver open", "noslop-driver open worker1 ollama"),
    "completion": ("noslop-driver completion bash",),
    "teardown": ("noslop-driver teardown --check", "noslop-driver teardown --limit worker2"),
}
"""The lines of each command, by its words."""


def format_examples(command: str) -> str | None:
    """Return the end of a command's help; None if it has no examples."""
    lines = EXAMPLES.get(command, ())
    title = "Example:" if len(lines) == 1 else "Examples:"
    # click keeps the lines after this sign as they are.
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)]) if lines else None
