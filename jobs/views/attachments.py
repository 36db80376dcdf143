"""Takes files for a job that is being written, and gives those of a job back to whoever may see it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.csp import CSP
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.csp import csp_override
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from jobs import attachments, lifecycle
from jobs.access import Act
from jobs.models import Given, Job, JobAttachment, ModelSpec, Project, User
from jobs.views.frame import fragment, person_of

# Whatever a browser takes such bytes for, it runs, loads and frames nothing.
INERT = {"default-src": [CSP.NONE], "frame-ancestors": [CSP.NONE], "sandbox": ""}


@dataclass(frozen=True, slots=True)
class Chip:
    """A file as the form shows it: `value` is what the form sends; a refused one has a problem instead."""

    name: str
    icon: str
    facts: str
    value: str = ""
    problem: str = ""


# What the script needs to make chips: the most bytes of a file, and blank chips for those of a draft and for
# files that are on their way or refused.
ATTACHING = {
    "most": attachments.MOST_BYTES,
    "blank_chips": {
        "file": Chip(name="", icon="file-text", facts=""),
        "image": Chip(name="", icon="image", facts=""),
        "busy": Chip(name="", icon="clock", facts=""),
        "bad": Chip(name="", icon="triangle-alert", facts="", problem="-"),
    },
}
_OF_CALL = re.compile(r"call\d{1,4}-attachments", re.ASCII)


@fragment
@sensitive_post_parameters()
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Keep files for a job that is being written; answer each with its chip, or with why it is refused."""
    person = person_of(request)
    slug = request.POST.get("project", "").replace("\0", "")
    project = get_object_or_404(Project.objects.visible_to(person), slug=slug)
    if not project.may(person, Act.SUBMIT):
        raise PermissionDenied
    spec = ModelSpec.objects.named(request.POST.get("model", "")).first()
    files = request.FILES.getlist("files")
    chips = [_taken(file, project=project, by=person, spec=spec) for file in files]
    asked = request.POST.get("field", "")
    field = asked if _OF_CALL.fullmatch(asked) else "attachments"
    return render(request, "_attachments.html", {"chips": chips, "field": field})


@require_safe
@csp_override(INERT)
@never_cache
def job_attachment(request: HttpRequest, short_id: str, position: int) -> HttpResponse:
    """Give a file of a job back as it was sent: a picture to look at, a PDF to keep."""
    visible = Job.objects.visible_to(person_of(request)).named(short_id)
    rows = JobAttachment.objects.filter(job__in=visible).select_related("attachment")
    found = get_object_or_404(rows, position=position)
    attachment, data = found.attachment, found.attachment.read()
    if data is None:
        raise Http404  # no longer kept
    response = HttpResponse(data, content_type=attachment.media_type)
    response["Content-Disposition"] = content_disposition_header(not attachment.is_image, found.name) or ""
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def chips_of(given: Iterable[Given], spec: ModelSpec | None) -> list[Chip]:
    """Return attachments as the form shows them, with what they likely cost on a model."""
    return [
        Chip(
            name=one.name,
            icon="image" if one.attachment.is_image else "file-text",
            facts=f"{one.attachment.extent} · about {one.attachment.tokens_about(spec):,} tokens",
            value=one.value,
        )
        for one in given
    ]


def _taken(file: "UploadedFile[bytes]", *, project: Project, by: User, spec: ModelSpec | None) -> Chip:
    name = attachments.clean_name(file.name or "")
    try:
        if (file.size or 0) > attachments.MOST_BYTES:
            raise attachments.Unreadable(attachments.too_large(file.size or 0))
        kept = lifecycle.keep_file(file.read(), project=project, by=by)
    except attachments.Unreadable as refused:
        return Chip(name=name, icon="triangle-alert", facts="", problem=str(refused))
    return chips_of([Given(kept, name)], spec)[0]
