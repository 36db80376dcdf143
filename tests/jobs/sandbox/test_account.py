"""Models and costs over HTTP, and the bill behind them."""

import time
import urllib.error
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.sandbox_process import SandboxProcess

ADMIN = "sk-admin-1"


def costs(sandbox: SandboxProcess, **query: Any) -> dict[str, Any]:
    # The bill's days are those of the sandbox's own calendar, 2026-11-30.
    query = {"start_time": 1796000000 // 86_400 * 86_400, "limit": 180} | query
    return sandbox.call("GET", "/organization/costs?" + urlencode(query, doseq=True), key=ADMIN).json


def total(page: dict[str, Any]) -> float:
    return sum(found["amount"]["value"] for bucket in page["data"] for found in bucket["results"])


def test_models_tell_when_they_end(sandbox: SandboxProcess) -> None:
    listed = {model["id"]: model["shutdown_date"] for model in sandbox.call("GET", "/models").json["data"]}
    assert listed["o3-pro"] == listed["o3-pro-2025-06-10"] == listed["o3"] == "2026-12-11"
    assert listed["gpt-5.6-sol"] is None
    assert "o4-mini" not in listed
    assert sandbox.call("GET", "/models/o3-pro-2025-06-10").json["shutdown_date"] == "2026-12-11"
    for name in ("o4-mini", "nonsense"):
        assert sandbox.call("GET", f"/models/{name}").error["code"] == "model_not_found"


def test_a_model_is_gone_on_its_day(own_sandbox: SandboxProcess) -> None:
    own_sandbox.start(today="2026-12-11")
    refused = own_sandbox.create("Too late")
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")
    assert "deprecated" in refused.error["message"]
    assert "o3-pro" not in [model["id"] for model in own_sandbox.call("GET", "/models").json["data"]]
    assert own_sandbox.create("Successor", model="gpt-5.6-sol").status == 200


def test_costs_are_the_sum_of_the_bill(sandbox: SandboxProcess) -> None:
    for number in range(3):
        sandbox.wait_for(sandbox.create(f"Pay {number} [[sandbox: seconds=0]]").json["id"])
    sandbox.create("Not due yet [[sandbox: seconds=600]]")
    sandbox.create("Never due [[sandbox: outcome=stuck]]")
    bills = [row["bill"] for row in sandbox.log()["responses"]]
    assert [bill is None for bill in bills] == [False, False, False, True, True]
    amounts = [Decimal(bill["amount"]) for bill in bills if bill]
    assert total(costs(sandbox)) == pytest.approx(float(sum(amounts)))
    lines = costs(sandbox, group_by=["line_item", "project_id"])
    items = {found["line_item"]: found for day in lines["data"] for found in day["results"]}
    assert set(items) == {"o3-pro, input_tokens", "o3-pro, output_tokens"}
    assert items["o3-pro, output_tokens"]["quantity"] == sum(bill["output_tokens"] for bill in bills if bill)
    assert items["o3-pro, output_tokens"]["project_id"] == "proj_practice"


def test_costs_are_told_apart_by_project_and_key(sandbox: SandboxProcess) -> None:
    body = {"model": "o3-pro", "input": "Pay [[sandbox: seconds=0]]", "background": True}
    sandbox.call("POST", "/responses", body, key="sk-1", OpenAI_Project="proj_a")
    sandbox.call("POST", "/responses", body, key="sk-2", OpenAI_Project="proj_b")
    both = costs(sandbox, group_by="project_id,api_key_id")
    found = [row for day in both["data"] for row in day["results"]]
    assert [row["project_id"] for row in found] == ["proj_a", "proj_b"]
    assert len({row["api_key_id"] for row in found}) == 2
    assert "sk-1" not in str(both)
    assert total(costs(sandbox, project_ids="proj_a")) == pytest.approx(found[0]["amount"]["value"])


def test_costs_stand_on_the_days_of_the_calendar(sandbox: SandboxProcess) -> None:
    sandbox.wait_for(sandbox.create("Pay [[sandbox: seconds=0]]").json["id"])
    days = [day for day in costs(sandbox)["data"] if day["results"]]
    assert [time.strftime("%Y-%m-%d", time.gmtime(day["start_time"])) for day in days] == ["2026-11-30"]


def test_costs_come_in_pages(sandbox: SandboxProcess) -> None:
    start = 1796000000 // 86_400 * 86_400
    first = costs(sandbox, start_time=start, end_time=start + 5 * 86_400, limit=3)
    assert (len(first["data"]), first["has_more"]) == (3, True)
    second = costs(sandbox, start_time=start, end_time=start + 5 * 86_400, limit=3, page=first["next_page"])
    assert (len(second["data"]), second["has_more"], second["next_page"]) == (2, False, None)
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]


@pytest.mark.parametrize(
    "query", ["", "start_time=x", "start_time=1&limit=0", "start_time=1&group_by=colour"]
)
def test_wrong_questions_about_costs_are_refused(query: str, sandbox: SandboxProcess) -> None:
    assert sandbox.call("GET", f"/organization/costs?{query}", key=ADMIN).status == 400


def test_costs_want_an_admin_key(sandbox: SandboxProcess) -> None:
    refused = sandbox.call("GET", "/organization/costs?start_time=1")
    assert (refused.status, refused.error["code"]) == (403, "insufficient_permissions")


def test_the_bill_tells_what_the_body_hides(sandbox: SandboxProcess) -> None:
    hidden = "[[sandbox: seconds=0 usage=none input=100 reasoning=1000 answer_tokens=0]]"
    ended = sandbox.wait_for(sandbox.create(f"Hide {hidden}").json["id"])
    assert ended["usage"] is None
    sandbox.wait_for(sandbox.create("Free [[sandbox: seconds=0 outcome=failed]]").json["id"])
    sandbox.wait_for(
        sandbox.create(
            "Not free [[sandbox: seconds=0 outcome=failed usage=full input=0 reasoning=500]]"
        ).json["id"]
    )
    amounts = [Decimal(row["bill"]["amount"]) for row in sandbox.log()["responses"]]
    assert amounts == [Decimal("0.082"), Decimal(0), Decimal("0.04")]


def test_a_cancelled_response_costs_what_was_made(sandbox: SandboxProcess) -> None:
    wish = "[[sandbox: seconds=600 reasoning=1000000 outcome=completed]]"
    response_id = sandbox.create(f"Stop {wish}").json["id"]
    sandbox.call("POST", f"/responses/{response_id}/cancel")
    bill = sandbox.log()["responses"][0]["bill"]
    assert bill["input_tokens"] > 0
    assert bill["output_tokens"] < 100_000
    wish = "[[sandbox: seconds=600 cancelled_then=completed after=0 reasoning=1000 outcome=completed]]"
    response_id = sandbox.create(f"Stop {wish}").json["id"]
    sandbox.call("POST", f"/responses/{response_id}/cancel")
    assert sandbox.log()["responses"][1]["bill"]["reasoning_tokens"] == 1000


def test_another_tier_costs_another_price(sandbox: SandboxProcess) -> None:
    for tier in ("default", "priority"):
        wish = f"[[sandbox: seconds=0 tier={tier} input=1000 reasoning=0 answer_tokens=1000]]"
        sandbox.wait_for(sandbox.create(f"Tier {wish}", model="o3").json["id"])
    amounts = [Decimal(row["bill"]["amount"]) for row in sandbox.log()["responses"]]
    assert amounts == [Decimal("0.01"), Decimal("0.0175")]


def test_asked_tiers_and_windows_are_served_where_they_are_sold(sandbox: SandboxProcess) -> None:
    def served(model: str, tier: str) -> str:
        accepted = sandbox.create("Tier [[sandbox: seconds=0]]", model=model, service_tier=tier)
        found: str = sandbox.wait_for(accepted.json["id"])["service_tier"]
        return found

    assert served("o3-pro", "priority") == served("o3-pro", "auto") == "default"
    assert served("gpt-5.6-sol", "fast") == "priority"
    assert served("gpt-5.6-sol", "flex") == "flex"


def test_a_bill_can_be_made_to_differ(sandbox: SandboxProcess) -> None:
    response = sandbox.create("[[sandbox: seconds=0 input=1000 reasoning=0 answer_tokens=1000]]").json["id"]
    sandbox.wait_for(response)
    before = Decimal(sandbox.log()["responses"][0]["bill"]["amount"])
    assert sandbox._call("POST", "/sandbox/bill", {"response_id": response, "factor": "1.5"}) == {"ok": True}
    assert Decimal(sandbox.log()["responses"][0]["bill"]["amount"]) == before * Decimal("1.5")
    sandbox._call("POST", "/sandbox/bill", {"response_id": response, "places": 1})
    assert Decimal(sandbox.log()["responses"][0]["bill"]["amount"]) == Decimal("0.1")
    sandbox._call("POST", "/sandbox/bill", {"response_id": response, "days": 1})
    assert sandbox.log()["responses"][0]["bill"] is None
    line = {"line_item": "x", "quantity": 1, "amount": "2", "project_id": "p", "api_key_id": "k"}
    assert sandbox._call("POST", "/sandbox/bill", {"add": line}) == {"ok": True}
    assert sandbox._call("POST", "/sandbox/bill", {"response_id": "resp_none"}) == {"ok": False}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        sandbox._call("POST", "/sandbox/bill", {"add": {}})
