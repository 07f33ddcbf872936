"""Who gets a variant: the same users always, and as many as the percentage says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from rag.records import Rollout
from rag.rollouts.assignment import Asker, asker, first_fitting, fits, gets_variant

FLAG = Rollout(name="new", kind="flag", variant="v", percent=20.0)
USERS = [
    asker(tenant="acme", key_id="k", subject=f"user-{n}", user="", session="")
    for n in range(10_000)
]


def chosen(rollout: Rollout) -> set[str]:
    return {who.unit for who in USERS if gets_variant(rollout, who)}


@pytest.mark.parametrize("percent", [0.0, 1.0, 20.0, 50.0, 99.0, 100.0])
def test_as_many_users_as_the_percentage_says(percent: float) -> None:
    got = len(chosen(replace(FLAG, percent=percent)))
    assert abs(got - 100 * percent) <= 4 * (percent * (100 - percent)) ** 0.5


def test_a_user_keeps_the_variant_while_the_percentage_rises() -> None:
    groups = [chosen(replace(FLAG, percent=percent)) for percent in (1, 5, 25, 50, 100)]
    for fewer, more in itertools.pairwise(groups):
        assert fewer < more


def test_rollouts_choose_independently_of_each_other() -> None:
    both = chosen(FLAG) & chosen(replace(FLAG, name="other"))
    assert 300 < len(both) < 500


def test_the_unit_is_the_user_then_the_session_then_the_key() -> None:
    everything = {"tenant": "t", "key_id": "k", "subject": "s", "user": "u", "session": "c"}
    assert asker(**everything).unit == "user:s"
    assert asker(**everything | {"subject": ""}).unit == "user:u"
    assert asker(**everything | {"subject": "", "user": ""}).unit == "session:c"
    assert asker(**everything | {"subject": "", "user": "", "session": ""}).unit == "key:k"
    nobody = dict.fromkeys(everything, "")
    assert asker(**nobody).unit != asker(**nobody).unit


def test_a_rollout_is_about_its_tenants_and_keys_alone() -> None:
    who = Asker("acme", "k1", "user:x")
    assert fits(FLAG, who)
    assert fits(replace(FLAG, tenants=frozenset({"acme"}), keys=frozenset({"k1"})), who)
    assert not fits(replace(FLAG, tenants=frozenset({"other"})), who)
    assert not fits(replace(FLAG, keys=frozenset({"k2"})), who)


def test_the_first_that_fits_decides() -> None:
    other = replace(FLAG, name="aaa", tenants=frozenset({"other"}))
    assert first_fitting([other, FLAG], Asker("acme", "", "user:x")) is FLAG
    assert first_fitting([other], Asker("acme", "", "user:x")) is None
