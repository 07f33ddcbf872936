"""Entries of the audit log as events of OCSF, against the published schema."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any, get_args

import jsonschema_rs
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from rag.gateway import ocsf
from rag.records import AuditEntry, AuditOutcome, AuditRow

ROW = AuditRow(
    id="5a" * 16,
    tenant="acme",
    at_ms=1_790_000_000_123,
    action="document.read",
    object="handbook/1",
    collection="default",
    outcome="success",
    status=200,
    key_id="0123456789ab",
    subject="ann",
    address="2001:db8::1",
    request_id="r-1",
)
LEAST = AuditRow(id="0" * 32, tenant="", at_ms=0, action="", outcome="failure")
ACTIONS = [*ocsf._ACTIVITIES, "ask", "audit.lost", "request"]


@functools.cache
def schemas() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=ocsf.OCSF))


@functools.cache
def validator(class_uid: int) -> Any:
    name = schemas().lookup_class_name_from_uid(class_uid)
    return jsonschema_rs.Draft202012Validator(schemas().get_class_schema(name))


def check(event: dict[str, Any]) -> None:
    errors = [error.message for error in validator(event["class_uid"]).iter_errors(event)]
    assert errors == []
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert None not in event.values()


@pytest.mark.parametrize("outcome", get_args(AuditOutcome))
@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_fits_its_class(action: str, outcome: AuditOutcome) -> None:
    for row in (ROW, LEAST):
        check(ocsf.event_of(AuditEntry(1, replace(row, action=action, outcome=outcome), "f" * 64)))


def test_the_check_finds_what_does_not_fit() -> None:
    event = ocsf.event_of(AuditEntry(1, ROW, "f" * 64))
    faults: tuple[dict[str, Any], ...] = (
        {"time": "now"}, {"status_id": 3}, {"src_endpoint": {}}, {"api": {}},
    )  # fmt: skip
    for broken in faults:
        with pytest.raises(AssertionError):
            check(event | broken)


def test_activities_are_named_as_the_schema_names_them() -> None:
    classes = get_ocsf_schema(version=ocsf.OCSF)["classes"]
    for kind, activity, name in ocsf._ACTIVITIES.values():
        [found] = [each for each in classes.values() if each["uid"] == kind.uid]
        assert found["caption"] == kind.name
        assert found["category_uid"] == kind.category_uid
        assert found["attributes"]["activity_id"]["enum"][str(activity)]["caption"] == name


def test_an_event_has_all_that_the_row_has() -> None:
    event = str(ocsf.event_of(AuditEntry(7, ROW, "f" * 64)))
    for field in fields(AuditRow):
        if value := getattr(ROW, field.name):
            assert str(value) in event, field.name
    assert "f" * 64 in event
