"""What is done to models in the registry: adding, verifying, promoting, removing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rag.errors import ConfigError, InputError
from rag.model_registry.files import Changes, changes, check_folder, is_quantized, stamped
from rag.model_registry.records import Contents, Model, ModelKind, ModelVersion
from rag.model_registry.references import Reference
from rag.model_registry.registry import Registry, find


def now() -> str:
    """Returns the current time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def add(
    registry: Registry, reference: Reference, folder: Path, kind: ModelKind, *, quantized: bool
) -> ModelVersion:
    """Adds a version of a model, with the checksums of its files.

    Args:
        registry: where it is added.
        reference: its name and version.
        folder: of the model; it stays where it is.
        kind: of the model.
        quantized: True if it is, though its config.json does not say so.

    Raises:
        InputError: The version exists, the folder is not of such a model, or a model that is not a
            generator is called quantized.
        StorageError: A file cannot be read, or the registry not written.
    """
    name, version = reference
    if version is None:
        raise InputError(f"Name a version of {name} with --version.")
    if quantized and kind != "generator":
        raise InputError("--quantized is for generators: `rag models convert` compares embedders.")
    folder = folder.absolute()
    check_folder(folder, kind)
    within = folder.is_relative_to(registry.folder)
    added = ModelVersion(
        folder=str(folder.relative_to(registry.folder) if within else folder),
        kind=kind,
        quantized=quantized or (kind == "generator" and is_quantized(folder)),
        files=stamped(folder),
        added=now(),
    )

    def edit(contents: Contents) -> Contents:
        model = contents.models.get(name, Model(versions={}))
        if version in model.versions:
            raise InputError(f"{reference} exists: choose another version, or remove it first.")
        registry.link(reference, folder)
        versions = {**model.versions, version: added}
        return contents.with_model(name, model.model_copy(update={"versions": versions}))

    registry.change(edit)
    return added


def verify(registry: Registry, reference: Reference) -> Changes:
    """Computes the checksums of a version again; returns the differences, and records the result.

    If there are none, the times of the files are recorded anew, and the link is made again. If
    there are some, the version is no longer verified or warmed.

    Raises:
        ConfigError: There is no such version.
        StorageError: A file cannot be read, or the registry not written.
    """
    model, version = find(registry.read(), reference)
    recorded, full = model.versions[version], Reference(reference.name, version)
    folder = registry.folder_of(recorded)
    found = stamped(folder)  # of a missing folder: no files
    differing = changes(recorded.files, found)
    if any(differing):
        registry.update(full, verified=None, warmed=None)
    else:
        registry.update(full, verified=now(), files=found, link=True)
    return differing


class Promotion(NamedTuple):
    """The version that is promoted now, and the one that was before."""

    promoted: str
    before: str | None


def promote(registry: Registry, name: str, version: str) -> Promotion:
    """Promotes a version of a model.

    Raises:
        ConfigError: There is no such version, its files have changed, or it is not verified, not
            warmed, or quantized without a comparison that it passed.
        StorageError: The registry cannot be read or written.
    """
    reference = Reference(name, version)
    model, _ = find(registry.read(), reference)
    registry.check_files(reference, model.versions[version])

    def edit(contents: Contents) -> Contents:
        model, _ = find(contents, reference)
        _check_ready(contents, reference, model.versions[version])
        return _promoted(contents, name, version)

    model = registry.change(edit).models[name]
    return Promotion(version, model.before)


def go_back(registry: Registry, name: str) -> Promotion:
    """Promotes the version that was promoted before.

    Raises:
        ConfigError: There is no such model, none was promoted before, or its files have changed.
        StorageError: The registry cannot be read or written.
    """

    def edit(contents: Contents) -> Contents:
        model, _ = find(contents, Reference(name, None))
        if model.before is None:
            raise ConfigError(f"No other version of {name} was promoted before {model.promoted}.")
        registry.check_files(Reference(name, model.before), model.versions[model.before])
        return _promoted(contents, name, model.before)

    model = registry.change(edit).models[name]
    return Promotion(model.promoted or "", model.before)


def _promoted(contents: Contents, name: str, version: str) -> Contents:
    model = contents.models[name]
    new = model.versions[version].model_copy(update={"promoted": now()})
    before = model.before if model.promoted == version else model.promoted
    update = {"versions": {**model.versions, version: new}, "promoted": version, "before": before}
    return contents.with_model(name, model.model_copy(update=update))


def _check_ready(contents: Contents, reference: Reference, found: ModelVersion) -> None:
    for done, task in ((found.verified, "verify"), (found.warmed, "warm")):
        if done is None:
            raise ConfigError(
                f"{reference} is not promoted: run `rag models {task} {reference}` first."
            )
    if not found.quantized:
        return
    comparing = f"`rag models compare REFERENCE {reference}`"
    if found.comparison is None:
        raise ConfigError(
            f"{reference} is quantized and was not compared with its reference: run {comparing}."
        )
    if not found.comparison.passed:
        raise ConfigError(
            f"{reference} is quantized and is worse than {found.comparison.reference}:"
            f" {'; '.join(found.comparison.report['faults'])}."
        )
    if is_void(contents, found):
        raise ConfigError(
            f"{reference} was compared with {found.comparison.reference} when one of them had other"
            f" files, or the latter was removed: run {comparing} again."
        )


def is_void(contents: Contents, found: ModelVersion) -> bool:
    """Returns True if the files of a version or of its reference are not those compared."""
    if found.comparison is None:
        return False
    name, _, version = found.comparison.reference.partition("@")
    model = contents.models.get(name)
    reference = model.versions.get(version) if model else None
    digests = (found.comparison.reference_digest, found.comparison.candidate_digest)
    return reference is None or digests != (reference.digest, found.digest)


def remove(registry: Registry, reference: Reference) -> None:
    """Removes a version from the registry; its folder stays.

    Raises:
        ConfigError: There is no such version, or it is promoted.
        StorageError: The registry cannot be written.
    """

    def edit(contents: Contents) -> Contents:
        model, version = find(contents, reference)
        if version == model.promoted and len(model.versions) > 1:
            raise ConfigError(f"{reference} is promoted: promote another version first.")
        left = {known: each for known, each in model.versions.items() if known != version}
        registry.unlink(reference)
        before = None if model.before == version else model.before
        update = {"versions": left, "before": before}
        return contents.with_model(
            reference.name, model.model_copy(update=update) if left else None
        )

    registry.change(edit)
