"""What readers make of an answer: a verdict and notes, and the words by which it is found again."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import connection, models
from django.db.models.functions import Now

from jobs.models.job import Job


class VerdictValue(models.TextChoices):
    """Whether an answer was right, as a person judges it."""

    RIGHT = "right", "Right"
    WRONG = "wrong", "Wrong"
    UNSURE = "unsure", "Unsure"


class Verdict(models.Model):
    """The last word on a job's answer, and whose it is."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    value = models.CharField(max_length=8, choices=VerdictValue)
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(value__in=VerdictValue.values), name="verdict_known")
        ]

    def __str__(self) -> str:
        return f"{self.value} by {self.by}"


class JobNote(models.Model):
    """A remark on a job. A payload."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())
    text = models.TextField()

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"note on {self.job_id}"


# How words are cut down to what is compared; the same for texts and for what is looked for.
LANGUAGE = "english"
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

    def matching(self, words: str) -> "JobTextQuerySet":
        """Those with what someone typed into a search field: words, "phrases", or, -without."""
        return self.filter(vector=asked_for(words))


def asked_for(words: str) -> SearchQuery:
    """Return what someone typed into a search field, as a query."""
    return SearchQuery(words, config=LANGUAGE, search_type="websearch")


class JobText(models.Model):
    """The words of a job's title, prompt and answer, for search. A payload."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    vector = SearchVectorField()
    objects = JobTextQuerySet.as_manager()

    class Meta:
        indexes = [GinIndex(fields=["vector"], name="job_text_words")]

    def __str__(self) -> str:
        return f"words of {self.job_id}"
