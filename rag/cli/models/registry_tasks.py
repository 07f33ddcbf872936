"""`rag models add`, `list`, `verify`, `promote` and `remove`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

from generation.models.checkpoints import check_checkpoint
from rag.build.model_folders import registry_of
from rag.cli import output
from rag.cli.progress import activity
from rag.errors import InputError
from rag.model_registry import upkeep
from rag.model_registry.files import check_folder
from rag.model_registry.records import Contents, Model, ModelVersion
from rag.model_registry.references import Reference, parse
from rag.model_registry.registry import find
from rag.settings.tree import Settings

MIB = 1 << 20


def add(args: argparse.Namespace, settings: Settings) -> int:
    """Adds a version of a model; returns 0."""
    reference = parse(f"{args.name}@{args.version}")
    registry = registry_of(settings)
    check_folder(args.folder, args.kind)
    if args.kind == "generator":
        check_checkpoint(args.folder)
    with activity("Reading", quiet=args.json):
        added = upkeep.add(registry, reference, args.folder, args.kind, quantized=args.quantized)
    body = _version_json(registry.read(), reference, added)
    output.show(body, lambda _: _added(reference, added), as_json=args.json)
    return 0


def _added(reference: Reference, added: ModelVersion) -> Iterator[str]:
    files = f"{len(added.files)} files, {added.size / MIB:,.1f} MiB"
    yield f"{reference}: {added.kind}{', quantized' if added.quantized else ''}, {files}"
    yield f"Then: `rag models verify {reference}`, `rag models warm {reference}`."


def list_(args: argparse.Namespace, settings: Settings) -> int:
    """Lists all versions of all models; returns 0."""
    registry = registry_of(settings)
    contents = registry.read()
    body = {
        "models_dir": str(registry.folder),
        "models": [
            {
                "name": name,
                "promoted": model.promoted,
                "before": model.before,
                "versions": [
                    _version_json(contents, Reference(name, version), each)
                    for version, each in model.versions.items()
                ],
            }
            for name, model in contents.models.items()
        ],
    }
    output.show(body, lambda _: _listed(contents), as_json=args.json)
    return 0


def _version_json(contents: Contents, reference: Reference, found: ModelVersion) -> output.Json:
    comparison = found.comparison
    return {
        "name": reference.name,
        "version": reference.version,
        **found.model_dump(exclude={"files", "comparison"}),
        "files": {name: stamp.sha256 for name, stamp in found.files.items()},
        "size": found.size,
        "digest": found.digest,
        "comparison": comparison
        and {**comparison.model_dump(), "void": upkeep.is_void(contents, found)},
    }


def _listed(contents: Contents) -> Iterator[str]:
    if not contents.models:
        yield "No models: `rag models add NAME FOLDER --version V --kind K` adds one."
    for name, model in contents.models.items():
        yield output.bold(name)
        for version, found in model.versions.items():
            marks = ", ".join(_marks(contents, model, version, found))
            yield f"  {version:<12} {found.kind:<9} {found.size / MIB:>10,.1f} MiB  {marks}"


def _marks(contents: Contents, model: Model, version: str, found: ModelVersion) -> Iterator[str]:
    if version in (model.promoted, model.before):
        yield "promoted" if version == model.promoted else "promoted before"
    yield "verified" if found.verified else "not verified"
    yield "warmed" if found.warmed else "not warmed"
    if found.quantized:
        yield "quantized"
    if found.comparison:
        void = " (void: other files)" if upkeep.is_void(contents, found) else ""
        passed = "not worse" if found.comparison.passed else "worse"
        yield f"{passed} than {found.comparison.reference}{void}"


def verify(args: argparse.Namespace, settings: Settings) -> int:
    """Computes checksums again; returns 1 if a file is not as it was added."""
    registry = registry_of(settings)
    contents = registry.read()
    chosen = _chosen(contents, args.name)
    results = []
    with activity("Reading", quiet=args.json):
        for reference in chosen:
            found = upkeep.verify(registry, reference)
            results.append({"model": str(reference), "intact": not any(found), **found._asdict()})
    output.show({"models": results}, _verified, as_json=args.json)
    return int(not all(result["intact"] for result in results))


def _chosen(contents: Contents, named: str | None) -> list[Reference]:
    """Returns the versions that are named: one, all of a model, or all."""
    if named is None:
        names = list(contents.models)
    else:
        reference = parse(named)
        if reference.version:
            return [reference]
        names = [reference.name]
    for name in names:
        if name not in contents.models:
            find(contents, Reference(name, None))  # raises: there is no such model
    return [
        Reference(name, version) for name in names for version in contents.models[name].versions
    ]


def _verified(body: output.Json) -> Iterator[str]:
    for each in body["models"]:
        yield f"{each['model']}: {'intact' if each['intact'] else 'not as it was added'}"
        for fault in ("missing", "added", "changed"):
            yield from (f"  {fault}: {file}" for file in each[fault])


def promote(args: argparse.Namespace, settings: Settings) -> int:
    """Promotes a version, or with `--back` the one before; returns 0."""
    if args.back == (args.version is not None):
        raise InputError("Name a version to promote, or --back for the one before.")
    reference = parse(f"{args.name}@{args.version}" if args.version else args.name)
    registry = registry_of(settings)
    with activity("Checking", quiet=args.json):
        done = (
            upkeep.go_back(registry, reference.name)
            if args.back
            else upkeep.promote(registry, reference.name, args.version)
        )
    body = {"name": reference.name, **done._asdict()}
    output.show(body, _promoted, as_json=args.json)
    return 0


def _promoted(body: output.Json) -> Iterator[str]:
    before = f", before it {body['before']}" if body["before"] else ""
    yield f"{body['name']}: {body['promoted']} is promoted{before}."
    yield "Processes that start from now on use it; a running one keeps the version it has."


def remove(args: argparse.Namespace, settings: Settings) -> int:
    """Removes a version from the registry; returns 0."""
    reference = parse(args.name)
    if reference.version is None:
        raise InputError(f"Name the version to remove: {reference.name}@VERSION.")
    upkeep.remove(registry_of(settings), reference)
    output.show({"removed": str(reference)}, _removed, as_json=args.json)
    return 0


def _removed(body: output.Json) -> Iterator[str]:
    yield f"{body['removed']} is no longer in the registry. Its folder is left as it is."


TASKS: Mapping[str, Callable[[argparse.Namespace, Settings], int]] = {
    "add": add,
    "list": list_,
    "verify": verify,
    "promote": promote,
    "remove": remove,
}
