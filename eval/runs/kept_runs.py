"""The runs of evaluations in one folder, for the tenants that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from eval.runs.run_folder import (
    INFO,
    OUTCOMES,
    SUMMARY,
    Run,
    RunInfo,
    read_info,
    read_run,
    read_summary,
)
from rag.errors import ConflictError, InputError, NotFoundError, StorageError
from rag.types import DEFAULT_TENANT

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Pattern of the names of the folders that are looked into."""
LARGEST_BYTES = 32 << 20
"""Most bytes of the outcomes of a run that is compared here: some 10,000 questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run without its outcomes; `summary` is empty until the run is finished."""

    name: str
    info: RunInfo
    summary: Mapping[str, Any]


class Listing(NamedTuple):
    """Some of a tenant's runs, newest first.

    `unreadable` are names of damaged runs, of which it is not known whose they are: the default
    tenant gets them. `more` is True if further runs follow.
    """

    runs: list[KeptRun]
    unreadable: list[str]
    more: bool


class KeptRuns:
    """Reads runs that are subfolders of a folder; no link is followed out of it.

    A run of another tenant is as one that there is none of.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which need not exist."""
        self._folder = folder

    def page(self, tenant: str, *, start: int, limit: int) -> Listing:
        """Returns `limit` of a tenant's runs, from the place `start` on."""
        infos: dict[str, RunInfo] = {}
        unreadable = []
        for name in self._names():
            try:
                infos[name] = read_info(self._folder / name)
            except InputError:
                unreadable.append(name)
        mine = [name for name, info in infos.items() if info.tenant == tenant]
        mine.sort(key=lambda name: (infos[name].started, name), reverse=True)
        runs = []
        for name in mine[start : start + limit]:
            try:
                runs.append(self._kept(name, infos[name]))
            except InputError:
                unreadable.append(name)
        told = sorted(unreadable) if tenant == DEFAULT_TENANT else []
        return Listing(runs, told, more=len(mine) > start + limit)

    def get(self, tenant: str, name: str) -> KeptRun:
        """Returns a run.

        Raises:
            NotFoundError: The tenant has no such run.
            StorageError: It cannot be read.
        """
        if not re.fullmatch(NAME, name) or not self._is_run(name):
            raise _no_run(name)
        tenant_of_run = DEFAULT_TENANT  # of a damaged one
        try:
            info = read_info(self._folder / name)
            tenant_of_run = info.tenant
            if tenant_of_run == tenant:
                return self._kept(name, info)
        except InputError as error:
            if tenant_of_run == tenant:
                raise _damaged(name) from error
        raise _no_run(name)

    def whole(self, tenant: str, name: str) -> Run:
        """Returns a finished run with its outcomes.

        Raises:
            NotFoundError: The tenant has no such run.
            ConflictError: It is not finished, or too large.
            StorageError: It cannot be read.
        """
        if self.get(tenant, name).info.finished is None:
            raise ConflictError(
                f"The run {name!r} is not finished: nothing can be said of it.",
                code="run_not_finished",
            )
        if (self._folder / name / OUTCOMES).stat().st_size > LARGEST_BYTES:
            raise ConflictError(
                f"The run {name!r} has outcomes of more than {LARGEST_BYTES >> 20} MiB: compare it"
                " with `rag eval compare` on the host.",
                code="run_too_large",
            )
        try:
            run = read_run(self._folder / name)
        except InputError as error:
            raise _damaged(name) from error
        return replace(run, folder=Path(name))  # so that no message names a path of this host

    def _kept(self, name: str, info: RunInfo) -> KeptRun:
        summary = {} if info.finished is None else read_summary(self._folder / name)
        return KeptRun(name=name, info=info, summary=summary)

    def _names(self) -> Iterator[str]:
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if re.fullmatch(NAME, path.name) and self._is_run(path.name):
                    yield path.name

    def _is_run(self, name: str) -> bool:
        """Returns True if there is a run, and neither it nor one of its files is a link."""
        folder = self._folder / name
        files = [folder, *(folder / file for file in (INFO, OUTCOMES, SUMMARY))]
        return (folder / INFO).is_file() and not any(file.is_symlink() for file in files)


def _no_run(name: str) -> NotFoundError:
    return NotFoundError(f"There is no evaluation run {name!r}.", code="unknown_run")


def _damaged(name: str) -> StorageError:
    return StorageError(f"The files of the run {name!r} cannot be read.", code="damaged_run")
