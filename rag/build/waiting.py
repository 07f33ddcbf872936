"""Builds the bound on questions under way."""

from __future__ import annotations

from collections.abc import Mapping

from rag.process.fair_admission import FairAdmission, Lane
from rag.settings.operations import AdmissionSettings, ClassSettings
from rag.settings.tree import Settings
from rag.types import Priority


def build_admission(settings: Settings) -> FairAdmission:
    """Returns the bound of all questions of a process, whichever pipeline answers them."""
    most = settings.limits.questions
    lanes: dict[str, Lane] = {
        name: Lane(
            weight=each.weight,
            at_once=each.at_once or most,
            waiting=each.waiting,
            seconds=each.wait_seconds,
        )
        for name, each in _classes(settings.admission).items()
    }
    return FairAdmission(
        most, lanes, weights=settings.admission.tenants, setting="limits.questions"
    )


def drain_seconds(settings: Settings) -> float:
    """Returns the seconds after which every question has ended that was accepted before."""
    waits = {name: each.wait_seconds for name, each in _classes(settings.admission).items()}
    return max(waits[name] + seconds for name, seconds in deadlines(settings).items())


def deadlines(settings: Settings) -> Mapping[Priority, float]:
    """Returns the seconds that a question may take, by its class."""
    classes = _classes(settings.admission)
    return {
        name: each.query_seconds or settings.limits.query_seconds for name, each in classes.items()
    }


def _classes(admission: AdmissionSettings) -> Mapping[Priority, ClassSettings]:
    return {
        "interactive": admission.interactive,
        "standard": admission.standard,
        "batch": admission.batch,
    }
