# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the studio's catalogue of models, and keep what a person wrote into the studio's file."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress, token_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.commands.options import Options
from noslop_driver.errors import UsageError
from noslop_driver.hubs.metadata import Hubs, ModelEntry, make_entry
from noslop_driver.inventory import studio_yml, yaml_edit
from noslop_driver.inventory.directory import STUDIO, Member, StudioDirectory
from noslop_driver.models import StudioSettings
from noslop_driver.output.terminal import Terminal

_FOLDERS = "checkpoints, loras, vae, text_encoders, diffusion_models, controlnet, embeddings, upscale_models"


def show_change(
    studio: StudioDirectory, members: Sequence[Member], options: Options, terminal: Terminal
) -> tuple[ModelEntry, catalogue.Model]:
    """Print the entry that is to come or to go. Return it with its model. Changes nothing.

    Raises:
        UsageError: the studio's file cannot be changed, or the entry is unusable.
        DriverError: the hub does not answer.
    """
    settings = _read_in_effect(studio, members)
    if options.action == "add":
        entry = _make_entry(options, settings)
        model = _parse([*settings.models, entry], settings)[-1]
    else:
        entry, model = _find(settings, str(options.model))
    _print_model(model, entry, settings.models, options.action, terminal)
    return entry, model


def find_entry(studio: StudioDirectory, members: Sequence[Member], name: str) -> tuple[ModelEntry, catalogue.Model]:
    """Return the entry of a model that this command can change, and the model.

    Raises:
        UsageError: there is none, or the studio's file cannot be changed.
    """
    return _find(_read_in_effect(studio, members), name)


def add_entries(
    studio: StudioDirectory, members: Sequence[Member], entries: Sequence[ModelEntry], terminal: Terminal
) -> None:
    """Add entries that the user has confirmed.

    Raises:
        UsageError: the studio's file cannot be changed, or an entry is unusable.
    """
    settings = _read_in_effect(studio, members)
    _parse([*settings.models, *entries], settings)
    for entry in entries:
        _write(studio, settings, entry, terminal, adds=True)
        settings = settings.replace(models=[*settings.models, entry])


def require_editable(studio: StudioDirectory, members: Sequence[Member]) -> None:
    """Raise UsageError where the catalogue cannot be changed."""
    _read_in_effect(studio, members)


def remove_from_catalogue(studio: StudioDirectory, members: Sequence[Member], name: str, terminal: Terminal) -> None:
    """Remove an entry, as the user has confirmed.

    Raises:
        UsageError: there is none, or the studio's file cannot be changed.
    """
    settings = _read_in_effect(studio, members)
    _write(studio, settings, _find(settings, name)[0], terminal, adds=False)


def _read_in_effect(studio: StudioDirectory, members: Sequence[Member]) -> StudioSettings:
    settings = _read_settings(studio)
    _require_list_in_effect(studio, members, settings)
    return settings


def _read_settings(studio: StudioDirectory) -> StudioSettings:
    if not (studio.path / STUDIO).exists():
        raise UsageError(
            f"There is no {studio.path / STUDIO}, which this command writes. Edit {catalogue.VARIABLE} in your files."
        )
    return studio_yml.validate(studio.read_settings(), STUDIO)


def _require_list_in_effect(studio: StudioDirectory, members: Sequence[Member], settings: StudioSettings) -> None:
    """Raise an error where another file of the inventory has a list that wins over the one in studio.yml."""
    for member in members:
        if (member.variables.get(catalogue.VARIABLE) or []) != settings.models:
            raise UsageError(
                f"{member.name} has another {catalogue.VARIABLE} than {studio.path / STUDIO}. Remove it from the other "
                "file of the inventory, or edit it there. Nothing was changed."
            )


def read_hubs(studio: StudioDirectory) -> Hubs:
    """Return where the studio asks for models, with its tokens."""
    return _make_hubs(_read_settings(studio))


def _make_hubs(settings: StudioSettings) -> Hubs:
    try:
        tokens = {origin: token_file.read(path) for origin, path in settings.models_tokens.items()}
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Hubs(settings.models_hub, settings.models_market, tokens)


def _make_entry(options: Options, settings: StudioSettings) -> ModelEntry:
    """Return the entry of a new model: what its hub says, and what the options say in its place."""
    entry = make_entry(str(options.source), _make_hubs(settings))
    if "ollama" not in entry:
        folder = options.folder or entry.pop("folder", "")
        if not folder:
            raise UsageError(f"Say where ComfyUI looks for it: --folder, one of {_FOLDERS}, or another folder of it.")
        entry = {"folder": folder, **{key: value for key, value in entry.items() if key != "folder"}}
    for key, value in (("file", options.file), ("sha256", options.sha256)):
        if value:
            entry[key] = value
    return entry


def _find(settings: StudioSettings, name: str) -> tuple[ModelEntry, catalogue.Model]:
    models = _parse(settings.models, settings)
    numbers = [number for number, model in enumerate(models) if name in model.names]
    if len(numbers) != 1:
        known = ", ".join(model.name for model in models) or "none"
        what = "is not in the catalogue" if not numbers else "is the name of several models"
        raise UsageError(f"{name} {what}. In it: {known}.")
    return settings.models[numbers[0]], models[numbers[0]]


def _parse(entries: Sequence[ModelEntry], settings: StudioSettings) -> list[catalogue.Model]:
    try:
        return catalogue.parse_models(entries, settings.models_hub, settings.models_market)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _print_model(
    model: catalogue.Model, entry: ModelEntry, current: Sequence[ModelEntry], action: str, terminal: Terminal
) -> None:
    """Print the entry, and what a person wants to know before they fetch it."""
    terminal.print(f"{'+' if action == 'add' else '-'} {studio_yml.format_value(entry)}")
    if action != "add":
        terminal.print("Its file stays on the share.")
        return
    size = model_progress.format_bytes(model.size) if model.size else "not known"
    licence = (model.licence or "not known") + (", gated" if model.gated else "")
    terminal.print(f"{model.name}: size {size}, licence {licence}")
    if not model.sha256 and not model.ollama:
        terminal.print("Its source names no SHA-256: the one of the first fetch will be recorded.")
    twins = [one for one in current if model.sha256 and one.get("sha256") == model.sha256]
    for one in twins:
        terminal.print(f"The catalogue has the same content already: {studio_yml.format_value(one)}")


def _write(
    studio: StudioDirectory, settings: StudioSettings, entry: ModelEntry, terminal: Terminal, *, adds: bool
) -> None:
    """Write the catalogue; into a file that a person has edited, without touching the rest of it."""
    number = len(settings.models) if adds else settings.models.index(entry)
    changed = [*settings.models, entry] if adds else [*settings.models[:number], *settings.models[number + 1 :]]
    if not studio.is_edited(STUDIO):
        studio.write_settings(settings.replace(models=changed))
        return
    path = studio.path / STUDIO
    text = path.read_text(encoding="utf-8")
    try:
        if adds:
            new = yaml_edit.add_entry(text, catalogue.VARIABLE, entry)
        else:
            new = yaml_edit.remove_entry(text, catalogue.VARIABLE, number)
    except yaml_edit.EditError as error:
        listed = yaml.safe_dump({catalogue.VARIABLE: changed}, sort_keys=False, allow_unicode=True, width=10**9)
        raise UsageError(f"{path} was not changed, since {error}. Write this into it:\n{listed}") from error
    studio.replace_edited(STUDIO, new)
    terminal.print(f"{path} was changed; what you wrote into it is as it was.")
