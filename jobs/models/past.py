"""Reads what the newest jobs of a kind have put out: of one project, else of others, in one statement."""

from collections.abc import Sequence

from jobs.models.outcomes import Kind
from jobs.models.questions import IN_ORDER, Blank, Statement
from jobs.pricing import PLAUSIBLE

# Others are not read at all where the project has enough: such a condition is looked at once, before.
_OUTPUTS = Statement(
    """WITH own AS MATERIALIZED (
        SELECT newest.id, newest.created_at, spent.output FROM (
            SELECT id, created_at FROM jobs_job
            WHERE project_id = {} AND model_id = {} AND effort = {} AND mode = {}
                AND status IN ('completed', 'incomplete')
            ORDER BY created_at DESC, id DESC LIMIT {}
        ) newest,
        LATERAL (
            SELECT usage ->> 'output_tokens' AS output FROM jobs_attempt
            WHERE job_id = newest.id AND jsonb_typeof(usage -> 'output_tokens') = 'number'
            ORDER BY number DESC LIMIT 1
        ) spent
    ), others AS MATERIALIZED (
        SELECT newest.id, newest.created_at, spent.output FROM (
            SELECT each.id, each.created_at FROM unnest({}::bigint[]) AS project (id),
            LATERAL (
                SELECT id, created_at FROM jobs_job
                WHERE project_id = project.id AND model_id = {} AND effort = {} AND mode = {}
                    AND status IN ('completed', 'incomplete')
                ORDER BY created_at DESC, id DESC LIMIT {}
            ) each
            WHERE (SELECT count(*) FROM own) < {}
            ORDER BY each.created_at DESC, each.id DESC LIMIT {}
        ) newest,
        LATERAL (
            SELECT usage ->> 'output_tokens' AS output FROM jobs_attempt
            WHERE job_id = newest.id AND jsonb_typeof(usage -> 'output_tokens') = 'number'
            ORDER BY number DESC LIMIT 1
        ) spent
    )
    SELECT is_own, output
    FROM (SELECT true AS is_own, * FROM own UNION ALL SELECT false, * FROM others) AS past
    ORDER BY is_own DESC, created_at DESC, id DESC
""",
    *map(
        Blank,
        (
            *("project", "model", "effort", "mode", "most"),
            *("others", "model", "effort", "mode", "most"),
            *("enough", "most"),
        ),
    ),
    hint=IN_ORDER,
)


def past_outputs(
    kind: Kind, *, project: int, others: Sequence[int], enough: int, most: int
) -> tuple[list[int], list[int]]:
    """Return the output tokens of the newest jobs of a kind, newest first: of a project, and of others (ids).

    Those of others are there only where the project has fewer than `enough`. At most `most` of each.
    """
    own: list[int] = []
    elsewhere: list[int] = []
    found = _OUTPUTS.ask(
        project=project,
        others=list(others),
        model=kind.model,
        effort=kind.effort,
        mode=kind.mode,
        enough=enough,
        most=most,
    )
    for is_own, tokens in found:
        # An API's word: a number with a point or beyond all bounds is none of tokens.
        if tokens.isdecimal() and len(tokens) <= len(str(PLAUSIBLE)):
            (own if is_own else elsewhere).append(int(tokens))
    return own, elsewhere
