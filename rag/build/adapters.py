"""The LoRA adapters of tenants, as the settings of a generator name them."""

from __future__ import annotations

from pathlib import Path

from rag.errors import ConfigError
from rag.settings.generation import OpenAISettings, VllmSettings


def adapter_names(settings: OpenAISettings | VllmSettings) -> dict[str, str]:
    """Returns the names of the model's adapters, by tenant."""
    if isinstance(settings, OpenAISettings):
        return settings.adapters
    return {tenant: Path(folder).name for tenant, folder in settings.adapters.items()}


def adapter_folders(settings: VllmSettings) -> dict[str, Path]:
    """Returns the folders of the adapters, by name.

    Raises:
        ConfigError: Two of them have one name.
    """
    folders: dict[str, Path] = {}
    named = map(Path, settings.adapters.values())
    for folder in (*named, *([settings.lora] if settings.lora else [])):
        if folders.setdefault(folder.name, folder) != folder:
            raise ConfigError(
                f"generator.adapters has two folders with the name {folder.name!r}: {folder} and"
                f" {folders[folder.name]}. Rename one, or add both to the registry of models."
            )
    return folders
