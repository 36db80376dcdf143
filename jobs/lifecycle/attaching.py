"""Gives jobs their attachments: which may be given, how a job keeps them, and their bytes as input."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Q, prefetch_related_objects

from jobs import attachments
from jobs.models import Attachment, Given, Job, JobAttachment, ModelSpec, Project, User

GONE = "An attachment is no longer there. Add it again."
FORGOTTEN = "(A file that stood here is no longer kept.)"
# Of every image, and of every page of a PDF: other values mean other sizes on other models, and on some no
# limit at all ('Images and vision', 'File inputs'), so that nothing would bound their tokens.
DETAIL = "high"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def keep_file(data: bytes, *, project: Project, by: User) -> Attachment:
    """Look into bytes and keep them in a project, once. Raises attachments.Unreadable with a plain sentence.

    What no job is given goes a day later.
    """
    if not connection.in_atomic_block:
        connection.close()  # looking may take a minute, and the web process has six connections in all
    return Attachment.objects.keep(project, data, attachments.inspect(data), by=by)


def given_as(values: Iterable[str], *, project: Project, by: User) -> tuple[Given, ...]:
    """Read attachments as a form holds them (`Given.value`), each once; those that are gone are left out.

    A person may give what is in any project they may see; the project's own row is taken where it has one.
    """
    names: dict[str, str] = {}
    for value in values:
        digest, _, name = value.partition(" ")
        if _DIGEST.fullmatch(digest):
            names.setdefault(digest, attachments.clean_name(name))
    found: dict[str, Attachment] = {}
    for attachment in Attachment.objects.visible_to(by).kept().filter(digest__in=names):
        if attachment.digest not in found or attachment.project_id == project.pk:
            found[attachment.digest] = attachment
    return tuple(Given(found[digest], name) for digest, name in names.items() if digest in found)


def given_with(job: Job) -> dict[str, tuple[Given, ...]]:
    """Return the files of a job, to be given once more: beside its prompt (''), and by the call they answer.

    Those that are no longer kept are left out.
    """
    rows = JobAttachment.objects.filter(job=job, attachment__in=Attachment.objects.kept())
    found: dict[str, tuple[Given, ...]] = {}
    for row in rows.select_related("attachment"):
        found[row.call_key] = (*found.get(row.call_key, ()), Given(row.attachment, row.name))
    return found


def problems(given: Sequence[Given], *, by: User, spec: ModelSpec) -> dict[str, str]:
    """Return what is in the way of sending attachments to a model, as the form's field has it."""
    size = sum(one.attachment.size for one in given)
    kinds = {one.attachment.is_image for one in given}
    found = ""
    if len(given) > attachments.MOST_FILES:
        found = f"At most {attachments.MOST_FILES} attachments a job."
    elif size > attachments.MOST_BYTES_A_JOB:
        found = attachments.too_large_together(size)
    elif True in kinds and "vision" not in spec.capabilities:
        found = f"{spec.pk} cannot see pictures."
    elif False in kinds and "pdf" not in spec.capabilities:
        found = f"{spec.pk} cannot read PDFs."
    elif given:
        ids = {one.attachment.pk for one in given}
        if Attachment.objects.visible_to(by).kept().filter(pk__in=ids).count() < len(ids):
            found = GONE
    return {"attachments": found} if found else {}


def locked(given: Iterable[Given]) -> dict[int, Attachment] | None:
    """Return attachments by id, locked so that the sweep of unused ones leaves them; None if one is gone."""
    wanted = {one.attachment.pk for one in given}
    rows = Attachment.objects.kept().select_for_update(no_key=True, of=("self",)).order_by("pk")
    found = rows.in_bulk(wanted)
    return found if len(found) == len(wanted) else None


def attach(job: Job, given: Sequence[Given], of_calls: Mapping[str, Sequence[Given]] | None = None) -> bool:
    """Keep files with a job, copied into its project where they are another's; False if one is gone.

    `of_calls` are those of outputs, by the key of their call. Call it in the transaction that makes the job,
    before any budget is locked.
    """
    placed = [(key, one) for key, files in {"": given, **(of_calls or {})}.items() for one in files]
    if not placed:
        return True
    originals = locked(one for _, one in placed)
    if originals is None:
        return False
    foreign = [row for row in originals.values() if row.project_id != job.project_id]
    own = Attachment.objects.copy_to(job.project, foreign, by=job.submitted_by)
    JobAttachment.objects.bulk_create(
        JobAttachment(
            job=job,
            attachment_id=own.get(one.attachment.pk, one.attachment.pk),
            position=position,
            name=one.name,
            call_key=key,
        )
        for position, (key, one) in enumerate(placed, 1)
    )
    return True


def input_of(job: Job, items: Iterable[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return what a job asks, with the bytes of its files: its answers to calls, then its message, if any.

    Files stand before the text: what is asked about them changes, and what comes first can be cached.
    """
    parts: dict[str, list[dict[str, Any]]] = {}
    # Unless a claim has, for all of its jobs.
    prefetch_related_objects([job], "jobattachment_set__attachment")
    for row in job.jobattachment_set.all():
        parts.setdefault(row.call_key, []).append(_part(row))
    beside = parts.pop("", [])
    answers = [
        {**item, "output": _content(parts[item["call_id"]], item["output"])}
        if item.get("call_id") in parts
        else dict(item)
        for item in items
    ]
    if beside or text:
        answers.append({"role": "user", "content": _content(beside, text) if beside else text})
    return answers


def bytes_sent(jobs: Sequence[Job]) -> dict[int, int]:
    """Return the bytes of attachments that each job may have to send; those without any are left out.

    A job that goes on from another may have to send all that its thread was given.
    """
    roots = {job.root_id for job in jobs if job.root_id is not None}
    theirs = Q(job__in=[job.pk for job in jobs]) | Q(job__in=roots) | Q(job__root__in=roots)
    rows = JobAttachment.objects.filter(theirs).values_list("job", "job__root", "attachment__size")
    found: dict[int, int] = {}
    for owner, root, size in rows:
        for job in jobs:
            if owner == job.pk or (job.root_id is not None and job.root_id in (owner, root)):
                found[job.pk] = found.get(job.pk, 0) + size
    return found


def forget_unused() -> int:
    """Delete the uploads of a day ago that no job was given; return how many."""
    return Attachment.objects.forget_unused()


def _content(files: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [*files, *([{"type": "input_text", "text": text}] if text else [])]


def _part(row: JobAttachment) -> dict[str, Any]:
    attachment, data = row.attachment, row.attachment.read()
    if data is None:
        return {"type": "input_text", "text": FORGOTTEN}
    encoded = base64.b64encode(data).decode("ascii")
    url = f"data:{attachment.media_type};base64,{encoded}"
    if attachment.is_image:
        return {"type": "input_image", "detail": DETAIL, "image_url": url}
    # The ending tells the API how to read it, and the name is the sender's own.
    name = row.name if row.name.lower().endswith(".pdf") else f"{row.name}.pdf"
    return {"type": "input_file", "detail": DETAIL, "filename": name, "file_data": url}
