"""Counts how past jobs ended that were run in given ways: in one statement, each kind in its index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.models.questions import IN_ORDER, Blank, Statement

OF_EACH, MOST = 200, 1_000  # newest jobs of a kind that are looked at: of each project, and in all
# Written out: the ORM takes ten milliseconds to write it, and the database then begins with all that the
# projects ever had done.
_COUNTED = Statement(
    """SELECT way.place - 1, count(*), count(*) FILTER (
        WHERE past.status = 'completed' AND spent.output <= to_jsonb(way.room)
    )
    FROM unnest({}::text[], {}::text[], {}::text[], {}::int[], {}::bigint[], {}::bool[], {}::bool[])
        WITH ORDINALITY AS way (model, effort, mode, least, room, is_own, is_here, place),
    LATERAL (
        SELECT newest.*
        FROM unnest(CASE WHEN way.is_here THEN ARRAY[{}::bigint] ELSE {}::bigint[] END) AS project (id),
        LATERAL (
            SELECT id, status, max_output_tokens, rerun_of_id FROM jobs_job
            WHERE project_id = project.id AND model_id = way.model AND effort = way.effort
                AND mode = way.mode AND status IN ('completed', 'incomplete')
            ORDER BY created_at DESC, id DESC LIMIT {}
        ) newest
        LIMIT {}
    ) past,
    LATERAL (
        SELECT usage -> 'output_tokens' AS output FROM jobs_attempt
        WHERE job_id = past.id AND jsonb_typeof(usage -> 'output_tokens') = 'number'
        ORDER BY number DESC LIMIT 1
    ) spent
    WHERE past.max_output_tokens >= way.least AND (
        way.is_own OR EXISTS (
            SELECT FROM jobs_job WHERE id = past.rerun_of_id AND model_id = {} AND effort = {} AND mode = {}
                AND incomplete_reason = 'max_output_tokens'
        )
    ) AND (NOT way.is_own OR spent.output >= to_jsonb({}))
    GROUP BY way.place
""",
    *map(
        Blank,
        (
            "models",
            "efforts",
            "modes",
            "least",
            "room",
            "is_own",
            "is_here",
            "project",
            "seen",
            "of_each",
            "most",
            "model",
            "effort",
            "mode",
            "used",
        ),
    ),
    hint=IN_ORDER,
)


class Kind(NamedTuple):
    """What jobs have in common whose output is compared: model (its id), effort and mode."""

    model: str
    effort: str
    mode: str


@dataclass(frozen=True, slots=True)
class Run:
    """A way to run a job: its kind, its output limit, and the output tokens that this lets it bill."""

    kind: Kind
    max_output_tokens: int
    room: int


@dataclass(frozen=True, slots=True)
class Odds:
    """Of `n` past jobs like one that ran out of output tokens, `done` were completed in a way."""

    done: int = 0
    n: int = 0

    @property
    def part(self) -> float:
        return self.done / self.n


def outcomes(
    runs: Sequence[Run], *, own: Kind, used: int, project: int, seen: Sequence[int]
) -> list[tuple[Odds, Odds]]:
    """Return how each way to run a job went that ran out, being of a kind, at `used` output tokens: in its
    project, and in all projects that are `seen` (ids).

    Of its own kind those count that needed as many. Of others only those do that were run again after they
    had run out: what began there may have been easier. Only the newest are looked at.
    """
    twice = [(run, is_here) for is_here in (True, False) for run in runs]
    found = _COUNTED.ask(
        models=[run.kind.model for run, _ in twice],
        efforts=[run.kind.effort for run, _ in twice],
        modes=[run.kind.mode for run, _ in twice],
        least=[run.max_output_tokens for run, _ in twice],
        room=[run.room for run, _ in twice],
        is_own=[run.kind == own for run, _ in twice],
        is_here=[is_here for _, is_here in twice],
        project=project,
        seen=list(seen),
        of_each=OF_EACH,
        most=MOST,
        model=own.model,
        effort=own.effort,
        mode=own.mode,
        used=used,
    )
    counts = {place: Odds(done, n) for place, n, done in found}
    return [(counts.get(place, Odds()), counts.get(place + len(runs), Odds())) for place in range(len(runs))]
