"""Everything that can go wrong between a client and the API, on demand."""

import http.client
import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from tests.jobs.sandbox.conftest import TODAY
from tests.sandbox_process import SandboxProcess

CUT = (http.client.HTTPException, OSError)


def accepted(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sandbox.log()["responses"]
    return rows


@pytest.mark.parametrize(
    ("word", "status", "type_", "code"),
    [
        ("400", 400, "invalid_request_error", None),
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("403", 403, "invalid_request_error", "model_not_found"),
        ("404", 404, "invalid_request_error", "model_not_found"),
        ("408", 408, "server_error", None),
        ("409", 409, "invalid_request_error", None),
        ("429", 429, "requests", "rate_limit_exceeded"),
        ("429_quota", 429, "insufficient_quota", "credit_balance_exhausted"),
        ("500", 500, "server_error", "server_error"),
        ("503", 503, "service_unavailable_error", "server_is_overloaded"),
    ],
)
def test_a_post_is_refused_on_demand(
    word: str, status: int, type_: str, code: str | None, sandbox: SandboxProcess
) -> None:
    refused = sandbox.create(f"Refuse [[sandbox: http={word}]]", metadata={"nonce": "n"})
    assert (refused.status, refused.error["type"], refused.error["code"]) == (status, type_, code)
    log = sandbox.log()
    assert log["responses"] == []
    assert [(post["result"], post["response_id"]) for post in log["posts"]] == [(str(status), None)]
    assert log["posts"][0]["metadata"] == {"nonce": "n"}


@pytest.mark.parametrize(
    ("word", "status"), [("403_plain", 403), ("404_plain", 404), ("405", 405), ("502", 502), ("307", 307)]
)
def test_a_proxy_refuses_without_an_error_of_the_api(word: str, status: int, sandbox: SandboxProcess) -> None:
    refused = sandbox.create(f"Refuse [[sandbox: http={word}]]")
    assert refused.status == status
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(refused.body)
    assert ("Location" in refused.headers) == (status == 307)


def test_retry_after_and_code_are_as_asked(sandbox: SandboxProcess) -> None:
    limited = sandbox.create("Slow [[sandbox: http=429 code=slow_down retry_after=7]]")
    assert (limited.headers["Retry-After"], limited.error["code"]) == ("7", "slow_down")
    assert "Retry-After" not in sandbox.create("Slow [[sandbox: http=503]]").headers


def test_a_fault_ends_after_its_times(sandbox: SandboxProcess) -> None:
    prompt = "Try [[sandbox: http=503 times=2 seconds=0]]"
    assert [sandbox.create(prompt).status for _ in range(3)] == [503, 503, 200]
    assert sandbox.create("Another text [[sandbox: http=503 times=1]]").status == 503
    failing = "Fail once [[sandbox: outcome=failed times=1 seconds=0]]"
    ends = [sandbox.wait_for(sandbox.create(failing).json["id"])["status"] for _ in range(2)]
    assert ends == ["failed", "completed"]


def test_a_reset_before_acceptance_leaves_nothing(sandbox: SandboxProcess) -> None:
    with pytest.raises(CUT):
        sandbox.create("Cut [[sandbox: fault=reset_before]]")
    assert accepted(sandbox) == []
    assert [post["result"] for post in sandbox.log()["posts"]] == ["reset_before"]


def test_a_reset_after_acceptance_leaves_a_response(sandbox: SandboxProcess) -> None:
    with pytest.raises(CUT):
        sandbox.create("Cut [[sandbox: fault=reset_after seconds=0]]", metadata={"nonce": "n1"})
    row = accepted(sandbox)[0]
    assert row["metadata"] == {"nonce": "n1"}
    assert sandbox.wait_for(row["id"])["status"] == "completed"


def test_a_garbage_answer_leaves_a_response(sandbox: SandboxProcess) -> None:
    garbage = sandbox.create("Mangle [[sandbox: fault=garbage]]")
    assert garbage.status == 200
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(garbage.body)
    assert len(accepted(sandbox)) == 1


def test_a_hanging_answer_leaves_a_response_at_once(sandbox: SandboxProcess) -> None:
    began = time.monotonic()
    answer = sandbox.create("Wait [[sandbox: fault=hang hang=0.5]]")
    assert time.monotonic() - began >= 0.5
    row = accepted(sandbox)[0]
    assert row["id"] == answer.json["id"]
    assert row["created_at"] < time.time() - 0.5


def test_a_response_may_be_missing_at_first(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Find me [[sandbox: missing=0.4 seconds=0]]").json["id"]
    missing = sandbox.call("GET", f"/responses/{response_id}")
    assert missing.status == 404
    assert response_id in missing.error["message"]
    assert sandbox.wait_for(response_id)["status"] == "completed"


def test_an_unknown_word_is_shown_for_a_while(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Word [[sandbox: status=pondering seconds=0.5]]").json["id"]
    sandbox.wait_for(response_id, "pondering")
    assert sandbox.wait_for(response_id)["status"] == "completed"


def test_an_api_that_is_down_cuts_every_connection(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Before").json["id"]
    sandbox.faults(down=True)
    for method, path in (("POST", "/responses"), ("GET", f"/responses/{response_id}"), ("GET", "/models")):
        with pytest.raises(CUT):
            sandbox.call(method, path, {"model": "o3-pro", "input": "x"})
    sandbox.faults(down=False)
    assert sandbox.call("GET", f"/responses/{response_id}").status == 200
    assert len(accepted(sandbox)) == 1


def test_global_faults_are_switched_one_by_one(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Before").json["id"]
    sandbox.faults(get_http=429, retry_after=3)
    limited = sandbox.call("GET", f"/responses/{response_id}")
    assert (limited.status, limited.headers["Retry-After"]) == (429, "3")
    assert sandbox.create("Post goes").status == 200
    sandbox.faults(get_http=None, post_http="401")
    assert sandbox.call("GET", f"/responses/{response_id}").status == 200
    assert sandbox.create("Post does not").status == 401
    sandbox.faults(http=503)
    assert sandbox.call("GET", "/models").status == 503
    sandbox.reset()
    assert sandbox.call("GET", "/models").status == 200


def test_delays_hold_what_they_name(sandbox: SandboxProcess) -> None:
    sandbox.faults(get_delay=0.3)
    began = time.monotonic()
    response_id = sandbox.create("At once").json["id"]
    middle = time.monotonic()
    sandbox.call("GET", f"/responses/{response_id}")
    assert middle - began < 0.3 <= time.monotonic() - middle


@pytest.mark.parametrize("fault", [{"fire": True}, {"http": 418}])
def test_an_unknown_fault_is_refused(fault: dict[str, Any], sandbox: SandboxProcess) -> None:
    with pytest.raises(OSError, match="400"):
        sandbox.faults(**fault)


def test_a_bug_looks_like_an_error_of_the_api_and_tells_no_prompt(
    own_sandbox: SandboxProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    own_sandbox.start(today=TODAY)
    with closing(sqlite3.connect(own_sandbox.data)) as file:
        file.execute("DROP TABLE post")
    broken = own_sandbox.create("canary")
    assert (broken.status, broken.error["code"]) == (500, "server_error")
    assert "canary" not in broken.body.decode()
    said = capfd.readouterr().err
    assert "OperationalError" in said
    assert "canary" not in said


def test_reset_forgets_everything(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Forget").json["id"]
    sandbox.faults(post_http=500)
    sandbox.reset()
    assert sandbox.log() == {"responses": [], "posts": []}
    assert set(sandbox.stats().values()) == {0}
    assert sandbox.call("GET", f"/responses/{response_id}").status == 404
    assert sandbox.create("New").status == 200
