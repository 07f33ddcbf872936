"""The states of a rollout, and the ways between them. Pure functions.

Each way raises the version: evidence of before counts no more, and a change that was made on an
older version is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from rag.errors import ConflictError
from rag.records import DAY, Change, Rollout, RolloutState

HOLD_SECONDS = DAY
"""Time for which a rolled back variant is not started again, and its former state is restorable."""
MOST_CHANGES = 50
"""Changes that the history keeps."""
Action = Literal["promote", "rollback", "kill", "resume", "restore"]
WIDENING: frozenset[Action] = frozenset({"promote", "resume", "restore"})
"""Actions that send more questions to the variant."""


def started(rollout: Rollout, before: Rollout | None, now: float, *, force: bool) -> Rollout:
    """Returns a rollout that begins, in the place of an earlier one of its name.

    Raises:
        ConflictError: Its variant was rolled back within a day, and `force` is False.
    """
    if before is not None and before.variant == rollout.variant and not force:
        _check_hold(before, now)
    percent = rollout.plan.steps[0] if rollout.kind == "canary" else rollout.percent
    history = before.history if before else ()
    version = before.version + 1 if before else 1
    if before:
        history = _with(before, "started again", now)
    return replace(rollout, percent=percent, version=version, since=now, history=history)


def advanced(rollout: Rollout, reason: str, now: float) -> Rollout:
    """Returns a canary at its next step, or promoted after the last one."""
    later = [step for step in rollout.plan.steps if step > rollout.percent]
    if later:
        return _moved(rollout, "running", later[0], reason, now)
    return _moved(rollout, "promoted", 100.0, reason, now)


def rolled_back(rollout: Rollout, reason: str, now: float) -> Rollout:
    """Returns a rollout that routes nothing any more."""
    moved = _moved(rollout, "rolled_back", 0.0, reason, now)
    return replace(moved, held_until=now + HOLD_SECONDS)


def changed(rollout: Rollout, action: Action, now: float, *, force: bool, who: str) -> Rollout:
    """Returns a rollout after a person's action.

    Raises:
        ConflictError: It cannot be taken in the present state.
    """
    state, reason = rollout.state, f"{action} by {who}"
    match action:
        case "promote" if state == "running" and rollout.kind == "canary":
            return advanced(rollout, reason, now)
        case "promote" if state == "running" and rollout.kind in ("flag", "ab"):
            return _moved(rollout, "promoted", 100.0, reason, now)
        case "rollback" if state in ("running", "promoted"):
            return rolled_back(rollout, reason, now)
        case "kill" if state in ("running", "promoted"):
            return _moved(rollout, "killed", rollout.percent, reason, now)
        case "resume" if state == "killed":
            former = rollout.history[-1].state
            return _moved(rollout, former, rollout.percent, reason, now)
        case "restore" if state == "rolled_back" and now < rollout.held_until:
            if not force:
                _check_hold(rollout, now)
            former = rollout.history[-1].state
            moved = _moved(rollout, former, rollout.history[-1].percent, reason, now)
            return replace(moved, held_until=0.0)
    raise ConflictError(
        f"The rollout {rollout.name!r} is {state.replace('_', ' ')}: it cannot {action}.",
        code="rollout_state",
    )


def _check_hold(rollout: Rollout, now: float) -> None:
    if rollout.state == "rolled_back" and now < rollout.held_until:
        hours = (rollout.held_until - now) / 3600
        raise ConflictError(
            f"The variant {rollout.variant!r} was rolled back ({rollout.reason}), and is held for"
            f" {hours:.1f} h more. Send `force` to start it nevertheless.",
            code="rollout_held",
        )


def _moved(
    rollout: Rollout, state: RolloutState, percent: float, reason: str, now: float
) -> Rollout:
    return replace(
        rollout,
        state=state,
        percent=percent,
        reason=reason,
        version=rollout.version + 1,
        since=now,
        evidence={},
        history=_with(rollout, reason, now),
    )


def _with(rollout: Rollout, reason: str, now: float) -> tuple[Change, ...]:
    entry = Change(
        at=now,
        version=rollout.version,
        state=rollout.state,
        percent=rollout.percent,
        reason=reason,
    )
    return (*rollout.history, entry)[-MOST_CHANGES:]
