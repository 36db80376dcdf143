"""What a job that does not fit could run on instead: only what can be sent, and only within the room."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.lifecycle import JobSpec
from jobs.models import Given, Kind, ModelSpec, Price, Project, User
from jobs.models.catalogue import WINDOWS
from tests.factories import a_spec
from tests.jobs.attachments.files import pdf, picture

pytestmark = pytest.mark.django_db

TODAY = dt.date(2026, 11, 24)
SHUT = "o4-mini"  # on that day
ROOM = Decimal(3)  # USD: enough for any model below the pros
FUNCTION = {
    "type": "function",
    "name": "run_sage",
    "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
}
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
MODELS = (
    "gpt-6-luna", SHUT, "o3", "gpt-6-sol", "gpt-6.1-sol", "gpt-5.6-sol", "gpt-6-astra", "o3-pro", "gpt-5-pro",
    "gpt-5.2-pro", "gpt-5.4-pro", "gpt-5.5-pro",
)  # fmt: skip
EFFORTS = ("none", "low", "medium", "high", "xhigh", "max")


@pytest.fixture(autouse=True)
def _day(settings: Settings) -> None:
    settings.PONDER_TODAY = TODAY


@pytest.fixture
def wanted(project: Project, person: User) -> JobSpec:
    """A job of a model above gpt-6-sol, o3 and gpt-6-luna, in the order in which they are offered."""
    return a_spec(project, person, model="gpt-6.1-sol", mode="standard")


def prices() -> Mapping[str, Price]:
    """Return every model's price row, also of those that are shut down."""
    rows = Price.objects.filter(valid_from__lte=TODAY).select_related("model")
    return {row.model_id: row for row in rows.order_by("model_id", "-valid_from").distinct("model_id")}


def instead(wanted: JobSpec, room: Decimal = ROOM) -> JobSpec | None:
    return lifecycle.instead(wanted, prices(), room, TODAY)


def offered(wanted: JobSpec, room: Decimal = ROOM) -> JobSpec:
    """Return what is offered, which can be sent for what there is room for."""
    found = instead(wanted, room)
    assert found is not None
    assert fits(found, room)
    return found


def fits(wanted: JobSpec, room: Decimal) -> bool:
    """Tell whether a job could be submitted as it is, and cost no more than that."""
    ceiling = lifecycle.ceiling_of(wanted)
    return (
        not lifecycle.problems_of(wanted, may_ask=False)
        and ceiling is not None
        and ceiling.worst_case <= room
    )


def change(model: str, **fields: Any) -> None:
    ModelSpec.objects.filter(pk=model).update(**fields)


def without(model: str, capability: str) -> None:
    """Take a capability from a model."""
    has = ModelSpec.objects.get(pk=model).capabilities
    change(model, capabilities=[name for name in has if name != capability])


def test_the_next_smaller_model_is_offered_with_all_else_as_it_was(wanted: JobSpec) -> None:
    assert offered(wanted) == dataclasses.replace(wanted, model="gpt-6-sol")


def test_standard_mode_comes_before_a_smaller_model(wanted: JobSpec) -> None:
    pro = dataclasses.replace(wanted, mode="pro", max_output_tokens=50_000)
    assert offered(pro) == dataclasses.replace(pro, mode="standard")
    # Where that does not fit either, a smaller one in pro mode comes before the same in standard mode.
    room = Decimal("0.3")
    found = offered(pro, room)
    assert (found.model, found.mode) == ("gpt-6-luna", "pro")
    found = offered(pro, room / 4)
    assert (found.model, found.mode) == ("gpt-6-luna", "standard")


def test_nothing_is_offered_where_nothing_fits(wanted: JobSpec) -> None:
    least = lifecycle.ceiling_of(dataclasses.replace(wanted, model="gpt-6-luna"))
    assert least
    assert offered(wanted, least.worst_case).model == "gpt-6-luna"
    assert instead(wanted, least.worst_case - Decimal("1E-10")) is None
    assert instead(dataclasses.replace(wanted, model="gpt-6-luna")) is None, "nothing is smaller"
    assert instead(dataclasses.replace(wanted, model="gpt-9")) is None


@pytest.mark.parametrize(
    ("capability", "needs"),
    [
        ("functions", {"tools": (FUNCTION,)}),
        ("web_search", {"tools": ({"type": "web_search"},), "max_tool_calls": 1}),
        ("structured", {"schema": SCHEMA, "schema_name": "answer"}),
    ],
)
def test_only_a_model_with_all_that_the_job_needs_is_offered(
    wanted: JobSpec, capability: str, needs: dict[str, Any]
) -> None:
    wanted = dataclasses.replace(wanted, **needs)
    room = Decimal(30)  # enough for a tool that has the whole window read again
    assert offered(wanted, room).model == "gpt-6-sol"
    without("gpt-6-sol", capability)
    assert offered(wanted, room).model == "o3"
    assert (
        offered(dataclasses.replace(wanted, tools=(), max_tool_calls=None, schema=None)).model == "gpt-6-sol"
    )


@pytest.mark.parametrize(("capability", "data"), [("vision", picture()), ("pdf", pdf("Lemma 4.7"))])
def test_only_a_model_that_reads_the_files_is_offered(
    wanted: JobSpec, project: Project, person: User, capability: str, data: bytes
) -> None:
    file = lifecycle.keep_file(data, project=project, by=person)
    wanted = dataclasses.replace(wanted, attachments=(Given(file, "lemma"),))
    assert offered(wanted).model == "gpt-6-sol"
    without("gpt-6-sol", capability)
    assert offered(wanted).model == "o3"


def test_a_tool_without_a_fee_is_not_offered(wanted: JobSpec) -> None:
    wanted = dataclasses.replace(wanted, tools=({"type": "web_search"},), max_tool_calls=1)
    assert offered(wanted, Decimal(30)).model == "gpt-6-sol"
    Price.objects.filter(model="gpt-6-sol").update(tool_fees={})
    assert offered(wanted, Decimal(30)).model == "o3"


def test_a_model_that_is_shut_down_is_not_offered(wanted: JobSpec) -> None:
    change("gpt-6-sol", shutdown_date=TODAY)
    assert offered(wanted).model == "o3"


def test_only_what_the_project_uses_is_offered(wanted: JobSpec) -> None:
    wanted.project.allowed_models.set(["gpt-6.1-sol", "gpt-6-luna"])
    wanted.project.allowed_efforts = ["medium", "high"]
    found = offered(dataclasses.replace(wanted, effort="max"))
    assert found.model == "gpt-6-luna"
    assert found.effort == ModelSpec.objects.get(pk="gpt-6-luna").default_effort == "medium"
    wanted.project.allowed_efforts = ["none"]
    wanted.project.allowed_models.set(["gpt-6.1-sol", "o3"])
    assert instead(wanted) is None, "o3 has no such effort"


def test_a_model_beside_it_on_the_ladder_is_not_smaller(wanted: JobSpec) -> None:
    change("gpt-6-sol", rung=ModelSpec.objects.get(pk="gpt-6.1-sol").rung)
    assert offered(wanted).model == "o3"


def test_an_effort_that_the_smaller_model_lacks_becomes_its_usual_one(wanted: JobSpec) -> None:
    wanted.project.allowed_models.set(["gpt-6.1-sol", "o3"])
    most = dataclasses.replace(wanted, effort="max")
    assert offered(most).effort == "medium"
    wanted.project.allowed_efforts = ["low", "high", "max"]
    assert offered(most).effort == "high", "the most that both have, where its usual one is not used"


def test_a_mode_that_the_smaller_model_lacks_becomes_one_that_it_has(wanted: JobSpec) -> None:
    change("gpt-6-sol", modes=["pro"])
    found = offered(wanted, Decimal(5))
    assert (found.model, found.mode) == ("gpt-6-sol", "pro")
    assert offered(wanted, Decimal(1)).model == "o3", "it has no standard mode"


def test_an_output_limit_above_the_smaller_models_is_not_cut(wanted: JobSpec) -> None:
    change("gpt-6-sol", max_output_tokens=99_999)
    found = offered(dataclasses.replace(wanted, max_output_tokens=110_000))
    assert (found.model, found.max_output_tokens) == ("gpt-6-luna", 110_000), "o3 writes 100,000 at most"


def test_a_wait_that_the_smaller_model_does_not_discount_is_left_out(wanted: JobSpec) -> None:
    waiting = dataclasses.replace(wanted, window="8h")
    assert offered(waiting).window == "8h"
    change("gpt-6-sol", completion_windows=["soonest"])
    found = offered(waiting)
    assert (found.model, found.window) == ("gpt-6-sol", "soonest")
    wanted.project.connection.kind = Kind.AZURE
    assert offered(waiting).window == "soonest"


@hypothesis_settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    model=st.sampled_from(MODELS),
    choice=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(("standard", "pro")),
            "effort": st.sampled_from(EFFORTS),
            "window": st.sampled_from(tuple(WINDOWS)),
            "max_output_tokens": st.sampled_from((16, 2_000, 20_000, 100_001, 128_000, 200_000)),
            "accepts_undocumented": st.booleans(),
            "tools": st.sampled_from(((), (FUNCTION,))),
        }
    ),
    room=st.decimals(min_value="0.0001", max_value=50, places=4)
    | st.sampled_from(tuple(map(Decimal, ("0.02", "0.2", "1", "5", "20")))),
    used=st.frozensets(st.sampled_from(MODELS), max_size=5),
    efforts=st.frozensets(st.sampled_from(EFFORTS), max_size=3),
    has_limit=st.booleans(),
)
def test_whatever_is_offered_can_be_sent_and_nothing_that_fits_is_missed(
    project: Project,
    person: User,
    model: str,
    choice: dict[str, Any],
    room: Decimal,
    used: frozenset[str],
    efforts: frozenset[str],
    has_limit: bool,
) -> None:
    project.allowed_models.set(used)
    project.allowed_efforts = sorted(efforts)
    project.job_limit = room if has_limit else None
    wanted, table = a_spec(project, person, model=model, **choice), prices()
    found = lifecycle.instead(wanted, table, room, TODAY)
    rung = table[model].model.rung
    if found is not None:
        assert fits(found, room)
        smaller = table[found.model].model.rung < rung
        assert smaller or (found.model, found.mode, wanted.mode) == (model, "standard", "pro")
        assert found.max_output_tokens == wanted.max_output_tokens
        return
    for price in table.values():
        if price.model.rung < rung:
            assert not fits(dataclasses.replace(wanted, model=price.model_id), room)
            assert not fits(dataclasses.replace(wanted, model=price.model_id, mode="standard"), room)
