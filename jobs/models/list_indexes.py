"""The indexes that give every list of jobs its rows in their order, however deep and however filtered."""

import datetime as dt

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from jobs.models.status import FINAL

# What a project's id has before it among tags: with it, it is longer than any tag can be.
AMONG_TAGS = "/" * 60


class TagsAndProject(models.Func):
    """A job's tags, and its project as one more: what some projects have of a tag is then found at once."""

    template = "array_append(%(expressions)s::text)"
    arg_joiner = f"::text[], '{AMONG_TAGS}' || "
    output_field = ArrayField(models.TextField())


# From being sent until the end; what was never sent took no time.
TOOK = Coalesce(F("finished_at") - F("sent_at"), Value(dt.timedelta(0)), output_field=models.DurationField())
# What has not ended has neither: as long as it moves, its rows are not written there.
_ENDED = models.Q(status__in=[status.value for status in FINAL])


def _newest(name: str, *columns: str) -> models.Index:
    return models.Index(fields=[*columns, "-created_at", "-id"], name=f"job_{name}newest")


def _counted(name: str, *columns: str) -> models.Index:
    """An index by status for the tabs of a list; with the other filters in it, no row is read to count."""
    rest = [column for column in ("project", "submitted_by", "model", "effort") if column not in columns]
    order = ["status", "-created_at", "-id"]
    return models.Index(fields=[*columns, *order], name=f"job_{name}by_status", include=rest)


def _costliest(name: str, *columns: str) -> models.Index:
    return models.Index(fields=[*columns, "-cost", "-id"], name=f"job_{name}costliest", condition=_ENDED)


def _longest(name: str, *columns: str) -> models.Index:
    return models.Index(*columns, TOOK.desc(), F("id").desc(), name=f"job_{name}longest", condition=_ENDED)


# A filter and an order need one index together. The newest first would be read to their end for what is
# rare among them, the costliest for a cheap model.
LIST_INDEXES = [
    _newest(""),
    _newest("project_", "project"),
    _newest("person_", "submitted_by"),
    _newest("model_", "model"),
    _newest("effort_", "effort"),
    _newest("status_", "status"),
    _counted("project_", "project"),
    _counted("person_", "submitted_by"),
    _counted("model_", "model"),
    _counted("effort_", "effort"),
    _costliest(""),
    _costliest("project_", "project"),
    _costliest("model_", "model"),
    _costliest("status_", "status"),
    _longest(""),
    _longest("project_", "project"),
    _longest("model_", "model"),
    _longest("status_", "status"),
    GinIndex(fields=["tags"], name="job_tags"),
    GinIndex(TagsAndProject("tags", "project_id"), name="job_tags_in_project"),
]
