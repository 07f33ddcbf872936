"""`rag rollout`: starts, shows and changes rollouts."""

from __future__ import annotations

import argparse
from typing import Any

from rag.cli import output
from rag.client import Arms, AsyncClient, Evidence, Power, Rollout, RolloutList
from rag.client.errors import NotFoundError
from rag.text.plain import plain

EVEN_SPLIT = 50.0
"""Percent of an A/B test, unless it is told: an even split finds the smallest differences."""


async def rollout(args: argparse.Namespace, client: AsyncClient) -> int:
    """Runs one of the tasks."""
    match args.task:
        case "list":
            output.show(await client.list_rollouts(), _all, as_json=args.json)
        case "show":
            output.show(await client.get_rollout(args.name), _whole, as_json=args.json)
        case "start":
            output.show(await _start(args, client), _whole, as_json=args.json)
        case "delete":
            await client.delete_rollout(args.name, await _version(args, client))
            output.show({"deleted": [args.name]}, output.deleted, as_json=args.json)
        case "arms":
            output.show(await client.compare_arms(args.name), _arms, as_json=args.json)
        case "power":
            found = await client.get_power(args.questions, percent=args.percent)
            output.show(found, _power, as_json=args.json)
        case action:
            version = await _version(args, client)
            made = await client.change_rollout(
                *(args.name, action, version),
                force=args.force,
                override_freeze=args.override_freeze,
            )
            output.show(made, _whole, as_json=args.json)
    return 0


async def _start(args: argparse.Namespace, client: AsyncClient) -> Rollout:
    try:
        version = await _version(args, client)
    except NotFoundError:
        version = 0
    percent = EVEN_SPLIT if args.kind == "ab" and args.percent is None else args.percent
    plan: dict[str, Any] = {
        name: value
        for name, value in (
            ("steps", args.steps),
            ("dwell_seconds", args.dwell),
            ("questions", args.questions),
        )
        if value is not None
    }
    return await client.start_rollout(
        args.name,
        args.kind,
        args.variant,
        version,
        percent=percent,
        tenants=args.tenants,
        keys=args.keys,
        plan=plan,  # type: ignore[arg-type]
        force=args.force,
        override_freeze=args.override_freeze,
    )


async def _version(args: argparse.Namespace, client: AsyncClient) -> int:
    if args.version_seen is not None:
        return int(args.version_seen)
    return (await client.get_rollout(args.name)).version


def _all(body: RolloutList) -> output.Lines:
    for variant in body.variants:
        states = {True: "available", False: "not available", None: "in the settings"}
        problem = f": {plain(variant.problem)}" if variant.problem else ""
        yield f"variant {variant.name}  {states[variant.available]}{problem}"
    if body.frozen:
        yield f"frozen: {plain(body.frozen)}"
    if not body.rollouts:
        yield "There are no rollouts: `rag rollout start` begins one."
    for each in body.rollouts:
        yield from _line(each)


def _line(body: Rollout) -> output.Lines:
    state = body.state.replace("_", " ")
    yield (
        f"{output.bold(body.name)}  {body.kind} of {body.variant}: {state} at {body.percent:g} %,"
        f" version {body.version}"
    )
    if body.reason:
        yield f"    {plain(body.reason)}"
    if body.problem:
        yield f"    the variant is not available: {plain(body.problem)}"


def _whole(body: Rollout) -> output.Lines:
    yield from _line(body)
    who = [f"tenant {each}" for each in body.tenants or ()]
    who += [f"key {each}" for each in body.keys or ()]
    yield f"    for {', '.join(who) or 'everybody'}, since {body.since}"
    if body.held_until:
        yield f"    the variant is held until {body.held_until}"
    for each in body.evidence:
        yield _seen(each)
    for change in body.history:
        state = change.state.replace("_", " ")
        yield f"    until {change.at}: {state} at {change.percent:g} %; {plain(change.reason)}"


def _seen(each: Evidence) -> str:
    interval = f"{each.low:.4g} to {each.high:.4g}"
    return (
        f"    {each.arm:8} {each.measure:10} {each.mean:.4g}  ({interval}; {each.questions:,}"
        " questions)"
    )


def _arms(body: Arms) -> output.Lines:
    yield f"{body.questions[0]:,} questions of the base, {body.questions[1]:,} of the variant"
    for row in body.rows:
        interval = f"{row.low:+.4g} to {row.high:+.4g}"
        yield (
            f"  {row.measure:20} {row.base:.4g} → {row.variant:.4g}  {row.difference:+.4g}"
            f" ({interval}; p = {row.p:.4f}) {row.verdict}"
        )


def _power(body: Power) -> output.Lines:
    yield (
        f"{body.questions:,} questions, {body.percent:g} % of them the variant's, find with a"
        f" probability of {body.power:.0%}, by how much {body.answers:,} answers of the base vary:"
    )
    for row in body.rows:
        yield f"  {row.measure:20} {row.mean:.4g} ± {row.smallest_difference:.4g}"
