"""The words by which a job is found again."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import connection, models

from jobs.models.job import Job
from jobs.models.questions import BY_INDEX, Statement
from jobs.models.search import LANGUAGE, asked_for

# Characters of a prompt and of an answer that can be searched. A vector holds 1 MB; PostgreSQL refuses what
# makes more of it: no text of these lengths does, whatever is in it.
PROMPT_SEARCHED, ANSWER_SEARCHED = 50_000, 90_000

_KEEP = """
INSERT INTO jobs_jobtext (job_id, vector)
SELECT p.job_id, to_tsvector(%(language)s, p.title) || to_tsvector(%(language)s, left(p.text, %(prompt)s))
  || to_tsvector(%(language)s, left(coalesce(a.text, ''), %(answer)s))
FROM jobs_prompt p LEFT JOIN jobs_answer a ON a.job_id = p.job_id
WHERE p.job_id = %(job)s
ON CONFLICT (job_id) DO UPDATE SET vector = EXCLUDED.vector
"""


class JobTextQuerySet(models.QuerySet["JobText"]):
    """The words of jobs: kept, and looked through."""

    def keep(self, job_id: int) -> None:
        """Make a job's words searchable as its title, prompt and answer now are."""
        with connection.cursor() as cursor:
            cursor.execute(
                _KEEP,
                {
                    "job": job_id,
                    "language": LANGUAGE,
                    "prompt": PROMPT_SEARCHED,
                    "answer": ANSWER_SEARCHED,
                },
            )

    def some_matching(self, words: str, most: int) -> list[int]:
        """Return jobs with what someone typed into a search field, at most so many, in no order."""
        question = Statement("{}", self.matching(words).values("pk")[:most], hint=BY_INDEX)
        return [pk for (pk,) in question.ask()]

    def matching(self, words: str) -> "JobTextQuerySet":
        """Those with what someone typed into a search field: words, "phrases", or, -without."""
        return self.filter(vector=asked_for(words))


class JobText(models.Model):
    """The words of a job's title, prompt and answer, for search. A payload."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    vector = SearchVectorField()
    objects = JobTextQuerySet.as_manager()

    class Meta:
        indexes = [GinIndex(fields=["vector"], name="job_text_words")]

    def __str__(self) -> str:
        return f"words of {self.job_id}"
