# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the templates of ``noslop.studio.managed_files`` on the controller, and send all texts in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Render every ``src``, and pass the texts to the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once with the content of all files."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        files = self._task.args.get("files")
        if not isinstance(files, list):
            raise AnsibleActionFail("files: a list of files to write is needed")
        try:
            rendered = [self._with_content(dict(file), variables) for file in files]
        except AnsibleError as error:
            raise AnsibleActionFail(f"a template could not be rendered: {error}") from error
        # no_log keeps only a whole parameter out of the target's log, so secret texts have a parameter of their own.
        secrets = {
            file["dest"]: file.pop("content")
            for file in rendered
            if boolean(file.get("secret", False)) and file.get("content") is not None
        }
        arguments = {"files": rendered, "secrets": secrets}
        result.update(
            self._execute_module(module_name="noslop.studio.managed_files", module_args=arguments, task_vars=variables)
        )
        return result

    def _with_content(self, file: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        source = file.pop("src", None)
        extra = file.pop("vars", {})
        if source is not None:
            file["content"] = self._render(self._find_needle("templates", source), {**variables, **extra})
        return file

    def _render(self, source: str, variables: dict[str, Any]) -> str:
        text = trust_as_template(self._loader.get_text_file_contents(source))
        here = Path(source).parent
        templar = self._templar.copy_with_new_env(
            searchpath=[str(here), str(here.parent)], available_variables=variables
        )
        # The same whitespace rules as ansible.builtin.template, so that a template means the same in both.
        rendered = templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True})
        return str(rendered if rendered is not None else "")
