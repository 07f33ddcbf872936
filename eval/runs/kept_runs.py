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

    `unreadable` are names of damaged ones. If it is not known whose they are, they count as the
    default tenant's. `more` is True if further runs follow.
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
        found = {name: self._info(name) for name in self._names()}
        unreadable = [name for name, info in found.items() if not info and _is_of(info, tenant)]
        mine = {name: info for name, info in found.items() if info and _is_of(info, tenant)}
        ordered = sorted(mine, key=lambda name: (mine[name].started, name), reverse=True)
        runs = []
        for name in ordered[start : start + limit]:
            try:
                runs.append(self._kept(name, mine[name]))
            except InputError:
                unreadable.append(name)
        return Listing(runs, sorted(unreadable), more=len(mine) > start + limit)

    def get(self, tenant: str, name: str) -> KeptRun:
        """Returns a run.

        Raises:
            NotFoundError: The tenant has no such run.
            StorageError: It cannot be read.
        """
        is_run = re.fullmatch(NAME, name) and self._is_run(name)
        info = self._info(name) if is_run else None
        if not is_run or not _is_of(info, tenant):
            raise NotFoundError(f"There is no evaluation run {name!r}.", code="unknown_run")
        if info is None:
            raise _damaged(name)
        try:
            return self._kept(name, info)
        except InputError as error:
            raise _damaged(name) from error

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

    def _info(self, name: str) -> RunInfo | None:
        """Returns the description of a run; None if it cannot be read."""
        try:
            return read_info(self._folder / name)
        except InputError:
            return None

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


def _is_of(info: RunInfo | None, tenant: str) -> bool:
    """Returns True for a tenant's run; a damaged one counts as the default tenant's."""
    return tenant == (info.tenant if info else DEFAULT_TENANT)


def _damaged(name: str) -> StorageError:
    return StorageError(f"The files of the run {name!r} cannot be read.", code="damaged_run")
