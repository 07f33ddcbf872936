"""The registry's folder: `registry.json`, its lock, and a link to each version of a model."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import ConfigError, StorageError
from rag.model_registry.files import quick_changes
from rag.model_registry.records import FORMAT, Contents, Model, ModelKind, ModelVersion
from rag.model_registry.references import Reference
from rag.process.atomic_write import write_atomically
from rag.process.file_lock import locked
from rag.text.validation_errors import shortened

FILE, LOCK, LINKS = "registry.json", "lock", "links"
LOCK_SECONDS = 10.0
"""Seconds to wait for other processes: each has the lock for milliseconds."""


class Registry:
    """Models by name and version. Changes are made under a lock, and written atomically."""

    def __init__(self, folder: Path) -> None:
        """Make a registry in a folder, which the first change creates."""
        self.folder = folder.absolute()

    def read(self) -> Contents:
        """Returns the contents; empty if there is no registry yet.

        Raises:
            ConfigError: A newer version of Plumbline wrote it.
            StorageError: It cannot be read, or is damaged.
        """
        file = self.folder / FILE
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            return Contents()
        except OSError as error:
            raise StorageError(f"{file} cannot be read: {error.strerror}.") from error
        try:
            return Contents.model_validate_json(text)
        except ValidationError as error:
            self._check_format(text, file)
            raise StorageError(
                f"The registry {file} is damaged: {shortened(str(error.errors()[0]['msg']))}."
                " Restore it from a backup, or remove it and add the models again."
            ) from error

    def _check_format(self, text: bytes, file: Path) -> None:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            if json.loads(text).get("format") > FORMAT:
                raise ConfigError(
                    f"A newer version of Plumbline wrote the registry {file}: install that version,"
                    " or name another folder in models_dir."
                )

    def change(self, edit: Callable[[Contents], Contents]) -> Contents:
        """Changes the contents by `edit`, which sees those of the change before; returns the new.

        Raises:
            StorageError: It cannot be written, or others hold the lock.
            RagError: `edit` raises it; then nothing is changed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK, seconds=LOCK_SECONDS):
                contents = edit(self.read())
                write_atomically(self.folder / FILE, contents.model_dump_json(indent=1) + "\n")
        except TimeoutError as error:
            raise StorageError(
                f"Another process has held the registry in {self.folder} for {LOCK_SECONDS:g} s."
                " Try again when it has ended."
            ) from error
        except OSError as error:
            raise StorageError(
                f"The registry in {self.folder} cannot be written: {error.strerror}. Nothing was"
                " changed."
            ) from error
        return contents

    def update(self, reference: Reference, *, link: bool = False, **values: Any) -> ModelVersion:
        """Changes values of a version, and with `link` makes its link again; returns the record.

        Raises:
            ConfigError: There is no such version.
            StorageError: It cannot be written.
        """

        def edit(contents: Contents) -> Contents:
            model, version = find(contents, reference)
            new = model.versions[version].model_copy(update=values)
            if link:
                self.link(reference, self.folder_of(new))
            versions = {**model.versions, version: new}
            return contents.with_model(
                reference.name, model.model_copy(update={"versions": versions})
            )

        model, version = find(self.change(edit), reference)
        return model.versions[version]

    def link(self, reference: Reference, folder: Path) -> None:
        """Makes the link of a version, or replaces it; for use in `change`.

        The link's name is that of the version, so that traces and messages name it.

        Raises:
            OSError: It cannot be made.
        """
        link = self._link(reference)
        link.parent.mkdir(exist_ok=True)
        temporary = link.with_name(f".{uuid.uuid4().hex}")
        temporary.symlink_to(folder)
        temporary.replace(link)

    def relink(self) -> None:
        """Makes the links of all versions again, if there is a registry: a backup has none of them.

        Raises:
            StorageError: They cannot be made.
        """

        def edit(contents: Contents) -> Contents:
            for name, model in contents.models.items():
                for version, record in model.versions.items():
                    self.link(Reference(name, version), self.folder_of(record))
            return contents

        if (self.folder / FILE).is_file():
            self.change(edit)

    def unlink(self, reference: Reference) -> None:
        """Removes the link of a version; for use in `change`.

        Raises:
            OSError: It cannot be removed.
        """
        self._link(reference).unlink(missing_ok=True)

    def folder_of(self, version: ModelVersion) -> Path:
        """Returns the folder of a version."""
        return self.folder / version.folder

    def resolve(self, reference: Reference, kind: ModelKind) -> Path:
        """Returns the link of a model, whose files are as they were recorded.

        Raises:
            ConfigError: There is no such model or version, none is promoted, it is of another kind,
                or its files are missing or have changed.
            StorageError: The registry or a file cannot be read.
        """
        model, version = find(self.read(), reference)
        found, full = model.versions[version], Reference(reference.name, version)
        if found.kind != kind:
            raise ConfigError(f"{full} is of the kind {found.kind!r}, and {kind!r} is needed here.")
        self.check_files(full, found)
        if self._link(full).resolve() != self.folder_of(found).resolve():
            raise ConfigError(
                f"The link {self._link(full)} does not lead to the folder of {full}:"
                f" `rag models verify {full}` makes it again."
            )
        return self._link(full)

    def check_files(self, reference: Reference, version: ModelVersion) -> None:
        """Checks that the files of a version are as they were recorded.

        Raises:
            ConfigError: They are missing or have changed.
            StorageError: A file cannot be read.
        """
        folder = self.folder_of(version)
        if not folder.is_dir():
            raise ConfigError(
                f"The folder of {reference} is missing: {folder}. Put it back, or"
                f" `rag models remove {reference}` and add it from another place."
            )
        if any(found := quick_changes(folder, version.files)):
            raise ConfigError(
                f"The files of {reference} in {folder} are not those that were added ({found})."
                " Put them back, or add them as another version."
            )

    def _link(self, reference: Reference) -> Path:
        return self.folder / LINKS / str(reference)


def find(contents: Contents, reference: Reference) -> tuple[Model, str]:
    """Returns a model and the version that is meant.

    Raises:
        ConfigError: There is no such model or version, or no version is promoted.
    """
    model = contents.models.get(reference.name)
    if model is None:
        known = ", ".join(contents.models) or "none"
        raise ConfigError(
            f"There is no model {reference.name!r} in the registry ({known}): `rag models add` adds"
            " one."
        )
    version = reference.version or model.promoted
    known = ", ".join(model.versions)
    if version is None:
        raise ConfigError(
            f"No version of {reference.name} is promoted ({known}): name one as"
            f" {reference.name}@VERSION, or promote one with `rag models promote`."
        )
    if version not in model.versions:
        raise ConfigError(f"There is no version {version!r} of {reference.name} ({known}).")
    return model, version
