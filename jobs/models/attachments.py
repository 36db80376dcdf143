"""Attachments: files given with prompts, stored once for each project by their content."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import LiteralString, Self

import psycopg
from django.db import connection, models, transaction
from django.db.models.functions import Now

from jobs import attachments
from jobs.models.catalogue import ModelSpec
from jobs.models.job import Job
from jobs.models.people import User
from jobs.models.projects import Project, Someone
from jobs.models.replies import SavedReplies

UNUSED_FOR = dt.timedelta(hours=24)  # a draft that was written yesterday can still be sent


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    """Attachments, read as phrases."""

    def visible_to(self, user: Someone) -> Self:
        """Those of the projects a person may see."""
        if user.is_authenticated and user.is_superuser:
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user))

    def kept(self) -> Self:
        """Those whose bytes are still there: retention may have emptied others."""
        return self.filter(attachmentcontent__isnull=False)

    def unused(self) -> Self:
        """Those that no job and no saved reply has, and that nobody added lately."""
        used = JobAttachment.objects.filter(attachment=models.OuterRef("pk"))
        saved = SavedReplies.files.through._default_manager.filter(attachment=models.OuterRef("pk"))
        return self.filter(~models.Exists(used), ~models.Exists(saved), created_at__lt=Now() - UNUSED_FOR)

    def keep(self, project: Project, data: bytes, found: attachments.Found, *, by: User) -> "Attachment":
        """Store bytes that were looked into, once for each project; again, it only makes them young."""
        facts = {name: getattr(found, name) for name in ("size", "width", "height", "pages", "text_bytes")}
        with transaction.atomic():
            # Locked: the sweep of unused ones takes only what it can lock.
            attachment, is_new = self.select_for_update(of=("self",)).get_or_create(
                project=project,
                digest=found.digest,
                defaults={"media_type": found.media_type, "created_by": by, **facts},
            )
            if not is_new:
                self.filter(pk=attachment.pk).update(created_at=Now())
            if not AttachmentContent.objects.filter(attachment=attachment).exists():
                _run(
                    "INSERT INTO jobs_attachmentcontent (attachment_id, data) VALUES (%s, %s)",
                    [attachment.pk, data],
                )
        return attachment

    def copy_to(self, project: Project, originals: Iterable["Attachment"], *, by: User) -> dict[int, int]:
        """Have attachments in a project, copied where they are not yet; return ids here by ids there.

        The bytes go from row to row inside the database. Call it in a transaction with the originals locked.
        """
        found: dict[int, int] = {}
        for original in originals:
            facts = ("media_type", "size", "width", "height", "pages", "text_bytes")
            own, _ = self.select_for_update(no_key=True, of=("self",)).get_or_create(
                project=project,
                digest=original.digest,
                defaults={"created_by": by, **{name: getattr(original, name) for name in facts}},
            )
            _run(
                "INSERT INTO jobs_attachmentcontent (attachment_id, data) SELECT %s, data"
                " FROM jobs_attachmentcontent WHERE attachment_id = %s ON CONFLICT DO NOTHING",
                [own.pk, original.pk],
            )
            found[original.pk] = own.pk
        return found

    def forget_unused(self) -> int:
        """Delete what no job has and nobody added lately; return how many."""
        with transaction.atomic():
            # What a submission or an upload has locked is wanted; it is looked at again under our own locks.
            free = (
                self.unused().select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)
            )
            gone = self.filter(pk__in=list(free[:MOST_AT_ONCE])).unused()
            return gone.delete()[1].get("jobs.Attachment", 0)


MOST_AT_ONCE = 500  # deleted by one sweep: with their bytes they are a transaction of seconds


class Attachment(models.Model):
    """A checked file of a project; its bytes are a row of their own, so that lists never load them.

    `created_at` is when it was last added: a day later it goes, unless a job or a saved reply has it.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    digest = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the bytes.")
    media_type = models.CharField(max_length=40)
    size = models.PositiveIntegerField(help_text="Bytes.")
    pages = models.PositiveIntegerField(null=True, blank=True, help_text="Of a PDF.")
    width = models.PositiveIntegerField(null=True, blank=True, help_text="Pixels of an image.")
    height = models.PositiveIntegerField(null=True, blank=True, help_text="Pixels of an image.")
    text_bytes = models.PositiveIntegerField(default=0, help_text="UTF-8 bytes of text in a PDF.")
    created_by = models.ForeignKey("jobs.User", on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = AttachmentQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "digest"], name="attachment_stored_once")]

    def __str__(self) -> str:
        return f"{self.media_type}, {self.size} bytes"

    @property
    def is_image(self) -> bool:
        return self.media_type.startswith("image/")

    @property
    def extent(self) -> str:
        """How large it is, in words: the pages of a PDF, the pixels of a picture."""
        if self.pages is not None:
            return f"{self.pages:,} page{'s' * (self.pages != 1)}"
        return f"{self.width or 0:,} × {self.height or 0:,}"

    def read(self) -> bytes | None:
        """Return its bytes; None where they are no longer kept."""
        found = _run("SELECT data FROM jobs_attachmentcontent WHERE attachment_id = %s", [self.pk]).fetchone()
        return None if found is None else bytes(found[0])

    def tokens_at_most(self, spec: ModelSpec) -> int:
        """Return the most input tokens a model can charge for it."""
        return attachments.bound(attachments.rule_of(spec.image_rule), self)

    def tokens_about(self, spec: ModelSpec | None) -> int:
        """Return the input tokens it will likely cost, on a model if one is chosen."""
        return attachments.guess(attachments.rule_of(spec.image_rule) if spec else None, self)


class AttachmentContent(models.Model):
    """The bytes of an attachment. A payload."""

    attachment = models.OneToOneField(Attachment, on_delete=models.CASCADE, primary_key=True)
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"content of {self.attachment_id}"


class JobAttachmentQuerySet(models.QuerySet["JobAttachment"]):
    """Attachments of jobs, read as phrases."""

    def of(self, job: Job) -> Self:
        """Those of a job, without their bytes; `is_kept` tells whether these are still there."""
        bytes_of = AttachmentContent.objects.filter(attachment=models.OuterRef("attachment"))
        return self.filter(job=job).select_related("attachment").annotate(is_kept=models.Exists(bytes_of))


class JobAttachment(models.Model):
    """An attachment as a job was given it; the name is the sender's word for it. A payload."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    attachment = models.ForeignKey(Attachment, on_delete=models.PROTECT)
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=200)
    call_key = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text="The call to whose output it belongs; empty beside the prompt.",
    )
    objects = JobAttachmentQuerySet.as_manager()

    class Meta:
        ordering = ["job", "position"]
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="one_attachment_a_place")]

    def __str__(self) -> str:
        return f"attachment {self.position} of {self.job_id}"


def _run(statement: LiteralString, parameters: Sequence[object]) -> psycopg.Cursor:
    """Run a statement that moves bytes, in the transaction of the ORM.

    They travel as they are: Django writes parameters into a statement's text, which of 49 MB took three times
    as long and four times the memory, and reads results as text.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        return psycopg.Cursor(connection.connection).execute(statement, parameters, binary=True)


@dataclass(frozen=True, slots=True)
class Given:
    """An attachment as it is given with a job that is not made yet; the name is the sender's word for it."""

    attachment: Attachment
    name: str = field(repr=False)

    @property
    def value(self) -> str:
        """What a form holds of it: the digest, which only someone who had the file can know, and the name."""
        return f"{self.attachment.digest} {self.name}"
