"""Measures sending and following many jobs at once: `python -m tests.bench.inflight --jobs 1000`.

The whole product runs with its sandbox. All jobs are submitted while the pumps rest and then sent at once, to
an upstream that takes 50 ms, while nobody polls: creates a second. Each then takes a real time upstream: as
in a fleet that has been at work for long, they are met in the midst of runs of `--shortest` to `--longest`
seconds, whose logarithms are even, so that as many take one to two minutes as take ten to twenty. From the
moment the last was sent as many end each second as would be sent in a steady state. During `--watch` seconds
the end upstream until the final status in the database is measured, and processor time and memory of the
workers. With `--power-cut` all is killed at once in the midst, and started again.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import psutil
import psycopg

from o3site import localpg
from tests.bench import figures
from tests.whole import ROOT, Whole

FINAL = ("completed", "incomplete", "failed", "cancelled")
UPSTREAM = 0.05  # seconds to answer a create

SUBMIT = """
import django, json, random, sys
django.setup()
from decimal import Decimal
from jobs import lifecycle, spend
from jobs.models import Connection, Project, User, Workspace
count, shortest, longest, sending, webhook = json.loads(sys.argv[1])
Connection.objects.update(max_in_flight=100_000, accepted_at="2100-01-01T00:00Z")
project = Project.objects.get(slug="practice")
spend.set_cap(Decimal(10_000_000), project=project)
by = User.objects.filter(is_superuser=True).first()
choice = project.default_choice(Workspace.objects.the().today())
rng = random.Random(7)
for number in range(count):
    # Of all that run at a moment the long ones are more: evenly spread lengths, each met anywhere.
    left = rng.random() * rng.uniform(shortest, longest)
    seconds = sending * (1 - number / count) + left  # they are sent one after another, and run from then on
    lifecycle.submit(lifecycle.JobSpec(
        project=project, by=by, model=choice.spec.pk, mode=choice.mode, effort="low", max_output_tokens=4000,
        prompt=f"Bench {number} [[sandbox: seconds={seconds:.1f} answer_tokens=200{webhook}]]",
    ))
"""
RING = "import django; django.setup(); from jobs.lifecycle import ring; ring('send'); ring('poll')"


def main() -> None:
    """Run one bench and print its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--shortest", type=float, default=60.0, help="seconds upstream of a whole run")
    parser.add_argument("--longest", type=float, default=1800.0)
    parser.add_argument("--watch", type=float, default=120.0, help="seconds to watch the ends")
    parser.add_argument("--polls-alone", action="store_true", help="no webhook comes")
    parser.add_argument("--power-cut", action="store_true")
    args = parser.parse_args()
    print(figures.noise())
    with Whole() as whole:
        sleep(whole)
        began = time.monotonic()
        sending = args.jobs / 75  # seconds that sending them all may take here
        run(
            whole,
            SUBMIT,
            [
                args.jobs,
                args.shortest,
                args.longest,
                sending,
                " webhook=drop,delay:100000" if args.polls_alone else "",
            ],
        )
        print(f"{args.jobs} jobs submitted in {time.monotonic() - began:.0f} s")
        measure_sending(whole, args.jobs)
        if args.power_cut:
            measure_power_cut(whole, args.jobs)
        measure_following(whole, args.watch, first=time.time())
    print(figures.noise())


def run(whole: Whole, script: str, words: object = None) -> None:
    """Run a script on its database, in a process of its own."""
    environment = {**whole.environment, "DJANGO_SETTINGS_MODULE": "o3site.settings"}
    command = [sys.executable, "-c", script, json.dumps(words)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def sleep(whole: Whole) -> None:
    """Let no pump claim anything."""
    (whole.home / "run" / "stop").touch()


def wake(whole: Whole) -> None:
    (whole.home / "run" / "stop").unlink()
    run(whole, RING)


def hold_polls(whole: Whole, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Take the lease of the poll pump for ten minutes."""
    connection.execute("DELETE FROM jobs_pumplease WHERE kind = 'poll'")
    connection.execute(
        "INSERT INTO jobs_pumplease (kind, instance, holder, expires_at)"
        " VALUES ('poll', %s, gen_random_uuid(), now() + interval '10 minutes')",
        [(whole.home / "instance").read_text().strip()],
    )


def free_polls(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    connection.execute("UPDATE jobs_pumplease SET holder = NULL, expires_at = now() WHERE kind = 'poll'")


def connect(whole: Whole) -> psycopg.Connection[tuple[Any, ...]]:
    reach = localpg.parameters(whole.home)
    return psycopg.connect(
        host=reach["HOST"],
        user=reach["USER"],
        password=reach["PASSWORD"],
        dbname=reach["NAME"],
        autocommit=True,
    )


def count(connection: psycopg.Connection[tuple[Any, ...]], where: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM jobs_job WHERE {where}").fetchone()
    assert row
    return int(row[0])


def workers(whole: Whole) -> list[psutil.Process]:
    """Return the processes of the cluster."""
    found = []
    for process in whole.processes():
        with suppress(psutil.NoSuchProcess):
            if "qcluster" in " ".join(process.cmdline()):
                found.append(process)
    return found


def seconds_of(processes: list[psutil.Process]) -> dict[int, float]:
    """Return processor seconds by process."""
    found = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def used(before: dict[int, float], after: dict[int, float]) -> list[float]:
    """Return what each process used between two looks, the hungriest first."""
    return sorted((spent - before.get(pid, 0.0) for pid, spent in after.items()), reverse=True)


def measure_sending(whole: Whole, jobs: int) -> None:
    """Send them all at once; creates a second between the first and the last acceptance."""
    whole.sandbox_faults(post_delay=UPSTREAM)
    with connect(whole) as connection:
        hold_polls(whole, connection)
        before, began = seconds_of(workers(whole)), time.monotonic()
        wake(whole)
        while count(connection, "status IN ('waiting', 'sending')"):
            time.sleep(0.2)
        free_polls(connection)
    took = time.monotonic() - began
    spent = used(before, seconds_of(workers(whole)))
    at = sorted(row["created_at"] for row in whole.sandbox_log()["responses"])
    rate = (len(at) - 1) / (at[-1] - at[0])
    print(
        f"sending: {rate:.0f} creates/s accepted (at least 100 a pump), all {jobs} in {took:.1f} s;"
        f" the pump used {spent[0] * 1000 / jobs:.1f} ms of processor a job"
    )
    whole.sandbox_faults(post_delay=0)
    run(whole, RING)


def measure_power_cut(whole: Whole, jobs: int) -> None:
    """Kill everything at once, start again, and say when each job in flight had been asked for again."""
    whole.kill()
    began = time.monotonic()
    whole.start()
    whole.await_sandbox(lambda log: True)
    while time.monotonic() - began < 180:
        asked = {row["id"]: row["gets"] for row in whole.sandbox_log()["responses"]}
        if all(asked.values()):
            break
        time.sleep(0.5)
    print(
        f"power cut: all {jobs} asked for again {time.monotonic() - began:.1f} s after the start began (60)"
    )


def measure_following(whole: Whole, seconds: float, *, first: float) -> None:
    """Watch the ends for some seconds: lateness, processor, memory, and what is overdue."""
    with connect(whole) as connection:
        in_flight = count(connection, "status IN ('queued', 'in_progress')")
        before, began = seconds_of(workers(whole)), time.monotonic()
        overdue = []
        while time.monotonic() - began < seconds:
            time.sleep(5)
            late = "status IN ('queued', 'in_progress') AND next_action_at < now() - interval '2 seconds'"
            overdue.append(count(connection, late))
        took = time.monotonic() - began
        spent = used(before, seconds_of(workers(whole)))
        left = count(connection, "status IN ('queued', 'in_progress')")
        rows = connection.execute(
            "SELECT uuid::text, extract(epoch FROM finished_at)::float, prompt.text FROM jobs_job"
            " JOIN jobs_prompt prompt ON prompt.job_id = jobs_job.id WHERE status = 'completed'"
        ).fetchall()
    accepted = {row["metadata"]["ponder_job"]: row["created_at"] for row in whole.sandbox_log()["responses"]}
    late_by = []
    for name, finished, prompt in rows:
        ended = accepted[name] + float(prompt.partition("seconds=")[2].split()[0])
        if ended > first:
            late_by.append(finished - ended)
    memory = max((one.memory_full_info().pss for one in workers(whole)), default=0) / 2**20
    print(f"in flight: {in_flight} at first, {left} at last; ages up to {took:.0f} s more than at first")
    print(figures.line("ended upstream to final in the database", late_by, "s"))
    print(
        f"workers: {sum(spent) / took:.0%} of a core together, {spent[0] / took:.0%} the hungriest process,"
        f" {memory:.0f} MB PSS the largest; overdue by 2 s at each look: {overdue}"
    )


if __name__ == "__main__":
    main()
