"""The endpoints of rollouts: which questions a variant of the pipeline answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import Call, given, nothing, read_as, segment
from .requests import NewPlan
from .rollout_responses import Arms, Power, Rollout, RolloutList


def list_rollouts() -> Call[RolloutList]:
    """Lists the rollouts by name, and the variants of the settings."""
    return Call(method="GET", path="/v1/rollouts", read=read_as(RolloutList))


def get_rollout(name: str) -> Call[Rollout]:
    """Returns a rollout with the evidence so far."""
    return Call(method="GET", path=f"/v1/rollouts/{segment(name)}", read=read_as(Rollout))


def start_rollout(
    name: str,
    kind: Literal["flag", "shadow", "canary", "ab"],
    variant: str,
    version: int,
    *,
    percent: float | None = None,
    tenants: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    plan: NewPlan | None = None,
    force: bool | None = None,
    override_freeze: str | None = None,
) -> Call[Rollout]:
    """Starts a rollout in the place of its version `version`; 0: there is none of this name yet.

    Raises:
        ConflictError: Somebody else changed it, or its variant was rolled back within a day and
            `force` is not set, or rollouts are frozen and `override_freeze` gives no reason.
    """
    body = given(
        kind=kind,
        variant=variant,
        version=version,
        percent=percent,
        tenants=tenants,
        keys=keys,
        plan=plan,
        force=force,
        override_freeze=override_freeze,
    )
    return Call(
        method="PUT",
        path=f"/v1/rollouts/{segment(name)}",
        body=body,
        read=read_as(Rollout),
        repeatable=False,
    )


def change_rollout(
    name: str,
    action: Literal["promote", "rollback", "kill", "resume", "restore"],
    version: int,
    *,
    force: bool | None = None,
    override_freeze: str | None = None,
) -> Call[Rollout]:
    """Promotes, rolls back, kills, resumes or restores a rollout at a version.

    Raises:
        ConflictError: It has another version by now, or its state does not allow it, or rollouts
            are frozen and `override_freeze` gives no reason.
    """
    return Call(
        method="POST",
        path=f"/v1/rollouts/{segment(name)}",
        body=given(action=action, version=version, force=force, override_freeze=override_freeze),
        read=read_as(Rollout),
        repeatable=False,
    )


def delete_rollout(name: str, version: int) -> Call[None]:
    """Deletes a rollout at a version: its questions are the base's again."""
    return Call(
        method="DELETE",
        path=f"/v1/rollouts/{segment(name)}",
        params={"version": version},
        read=nothing,
        repeatable=False,
    )


def compare_arms(name: str) -> Call[Arms]:
    """Compares the arms of an A/B test, with the statistics of `rag eval compare`."""
    return Call(method="GET", path=f"/v1/rollouts/{segment(name)}/arms", read=read_as(Arms))


def get_power(questions: int, *, percent: float | None = None) -> Call[Power]:
    """Returns the smallest differences that an A/B test of so many questions finds.

    Raises:
        ConflictError: Too few answers are stored.
    """
    params = {"questions": questions, "percent": percent}
    return Call(method="GET", path="/v1/rollout-power", params=params, read=read_as(Power))
