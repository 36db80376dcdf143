"""Bounds what the jobs before one bring along as its input, for any model, from one reading of them."""

from collections.abc import Sequence
from functools import cached_property

from django.db.models import F, Func, IntegerField, TextField
from django.db.models.functions import Cast, Coalesce

from jobs import pricing
from jobs.lifecycle import calls, threads
from jobs.lifecycle.calls import Call
from jobs.models import Answer, Attempt, Job, JobAttachment, Prompt, RawResponse, Status
from jobs.pricing import Usage


class Before:
    """What a job goes on from (`previous`, None for a beginning), as it was when it was first asked about.

    Usage may turn up and words be forgotten: it is kept only while ceilings are compared with each other.
    What is held is bounded by a new one.
    """

    def __init__(self, previous: Job | None) -> None:
        self._previous = previous
        self._sizes: dict[int, int] = {}

    @cached_property
    def calls(self) -> list[Call]:
        """What the response of `previous` waits for, also once it was answered."""
        return calls.calls_of(self._previous) if self._previous else []

    def tokens(self, model: str) -> int | None:
        """Return the most input tokens that a model's job is charged for it again; None if nobody knows.

        'All previous input tokens for responses in the chain are billed as input tokens' (OpenAI's guide to
        conversation state). Where the same model reported its usage, that is exact: its input, and every
        output of the thread, whose reasoning may or may not be carried on. Else it is the UTF-8 bytes of all
        that was asked and answered, which bound the tokens of a text, unless files, or what tools read, are
        among it.
        """
        # The first `known` jobs were read by the last of them, which said how much that was.
        tokens = known = read = 0
        for number, job in enumerate(self._chain, 1):
            if job.pk in self._used:
                usage = self._used[job.pk][1]
                tokens += usage.output_tokens if usage else job.max_output_tokens
                if usage and job.model_id == model and job.pk not in self._unread:
                    known, read = number, usage.input_tokens
        rest = self._chain[known:]
        if any(job.max_tool_calls or job.pk in self._with_files for job in rest):
            return None
        return tokens + read + self._size(rest) + 2 * pricing.OVERHEAD_TOKENS * len(rest)

    @cached_property
    def _chain(self) -> list[Job]:
        return Job.objects.chain_to(self._previous) if self._previous else []

    @cached_property
    def _used(self) -> dict[int, tuple[Attempt, Usage | None]]:
        """The send of each job whose response it took, with its usage."""
        sends = threads.used(self._chain)
        return {job_id: (attempt, Usage.reported(attempt.usage)) for job_id, attempt in sends.items()}

    @cached_property
    def _unread(self) -> set[int]:
        """The jobs whose tools may have returned what the model had not read when it stopped.

        No usage counts that, and it is carried on: only after an answer that is whole has all been read.
        """
        with_tools = {job.pk for job in self._chain if job.max_tool_calls}
        if not with_tools:
            return set()
        whole = Answer.objects.filter(job__in=with_tools, attempt__end_status=Status.COMPLETED, calls=[])
        return with_tools - set(whole.values_list("job", flat=True))

    @cached_property
    def _with_files(self) -> set[int]:
        files = JobAttachment.objects.filter(job__in=[job.pk for job in self._chain])
        return set(files.values_list("job", flat=True))

    def _size(self, jobs: Sequence[Job]) -> int:
        """Return the UTF-8 bytes that jobs asked and were answered; those of each are read once."""
        ids = [job.pk for job in jobs]
        if unknown := [job_id for job_id in ids if job_id not in self._sizes]:
            asked = _bytes("text") + Coalesce(_bytes("input_items"), 0)
            found = dict(Prompt.objects.filter(job__in=unknown).values_list("job", asked))
            sends = [self._used[job_id][0].pk for job_id in unknown if job_id in self._used]
            bodies = RawResponse.objects.filter(attempt__in=sends)
            answered = bodies.values_list("attempt__job", Coalesce(_bytes("body__output"), 0))
            for job_id, size in answered:
                found[job_id] = found.get(job_id, 0) + size
            self._sizes |= {job_id: int(found.get(job_id, 0)) for job_id in unknown}
        return sum(self._sizes[job_id] for job_id in ids)


def _bytes(name: str) -> Func:
    return Func(Cast(F(name), TextField()), function="octet_length", output_field=IntegerField())
