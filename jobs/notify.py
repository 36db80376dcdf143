"""Tells people what must not pass unseen: operators by alarms, anyone by mail, teams in chats."""

import logging
import smtplib

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models.functions import Now
from django.utils import timezone

from jobs import openai_client, pricing
from jobs.access import Act
from jobs.models import (
    Alert,
    Approval,
    Budget,
    BudgetRequest,
    Chat,
    Invitation,
    Job,
    Membership,
    Notice,
    RequestDecision,
    Ruling,
    SecretUnreadable,
    SignInLink,
    User,
)
from jobs.models.approval import ApprovalQuerySet

logger = logging.getLogger(__name__)


def alarm(kind: str, message: str, *, job_id: int | None = None, connection_id: int | None = None) -> Notice:
    """Raise an alarm about a job or a connection, in the caller's transaction; never content."""
    return Notice.objects.create(kind=kind, message=message[:600], job_id=job_id, connection_id=connection_id)


def mail(to: str, subject: str, text: str) -> bool:
    """Send a mail, or print it where there is no mail server; False, with an alarm, if that fails.

    Takes at most 10 s for each step of the exchange. Neither log nor alarm holds the address or the text.
    """
    try:
        # A name may hold a line break, which no header can.
        EmailMessage(" ".join(subject.split()), text, to=[to]).send()
    except (smtplib.SMTPException, OSError) as error:
        logger.error("A mail could not be sent (%s).", type(error).__name__)
        alarm("mail_failed", f"The mail server did not take a mail ({type(error).__name__}).")
        return False
    return True


def mail_sign_in_link(user_id: int) -> None:
    """Mail someone a new sign-in link, unless they were shut out meanwhile."""
    person = User.objects.filter(pk=user_id, is_active=True).first()
    if person is None:
        return
    token = SignInLink.objects.make_for(person)
    mail(
        person.email,
        "Your sign-in link for Ponder",
        f"This link lets you choose a new password. It works once, for 15 minutes:\n\n"
        f"{settings.PONDER_URL}/enter/#{token}\n\n"
        "If you did not ask for it, do nothing: your password stays as it is.\n",
    )


def mail_invitation(invitation: Invitation, link: str) -> bool:
    """Mail an invitation's link to whom it is for; False where no mail server is set, or if it fails."""
    if not settings.IS_MAIL_SENT:
        return False
    place = f"the project {invitation.project.name}" if invitation.project else "Ponder"
    return mail(
        invitation.email,
        f"{invitation.invited_by} invites you to {place}",
        f"{invitation.invited_by} invites you to {place}. This link works once, for 7 days:\n\n{link}\n",
    )


def mail_job_end(job_id: int) -> None:
    """Mail the person whose job it is that it has ended: once, if they still want that and may see it."""
    jobs = Job.objects.select_related("submitted_by", "project", "prompt")
    job = jobs.filter(pk=job_id, submitted_by__wants_mail=True, sent_at__isnull=False).first()
    if job is None or not job.may(job.submitted_by, Act.SEE):
        return
    # Before it is sent: a message that is delivered twice, or a mail server that fails, tells nobody twice.
    if not Job.objects.filter(pk=job_id, mailed_at=None).update(mailed_at=Now()):
        return
    title = _title(job)
    minutes = job.seconds_taken(timezone.now()) // 60
    mail(
        job.submitted_by.email,
        f"{job.get_status_display()}: {title}",
        f"{title}\n\n"
        f"{job.get_status_display()} after {minutes:.0f} min for ${job.cost:.2f}, in {job.project.name}.\n\n"
        f"{settings.PONDER_URL}{job.get_absolute_url()}\n\n"
        f"You asked for these mails: {settings.PONDER_URL}/settings/profile/\n",
    )


def mail_approvers(job_id: int) -> None:
    """Mail those who may approve a job that it waits for them: once, and not whoever asks.

    In a project without any these are the operators.
    """
    asked = _asked(job_id).undecided().filter(mailed_at=None).first()
    if asked is None or not Approval.objects.filter(pk=job_id, mailed_at=None).update(mailed_at=Now()):
        return
    job = asked.job
    why = f"{asked.why}\n\n" if asked.why else ""
    for person in _approvers(job):
        mail(
            person.email,
            f"{job.submitted_by} asks for up to ${pricing.ceil_cent(job.worst_case):,.2f}: {_title(job)}",
            f"{_title(job)}\n\n{why}"
            f"{asked.get_reason_display()}, in {job.project.name}. It can cost up to "
            f"${pricing.ceil_cent(job.worst_case):,.2f}. Nothing is held and nothing is sent until someone "
            f"agrees:\n\n{settings.PONDER_URL}{job.get_absolute_url()}\n",
        )


def mail_decision(job_id: int) -> None:
    """Mail whoever asked for approval of a job what was decided: once, if they may still see it."""
    asked = _asked(job_id).exclude(decision="").filter(told_at=None).first()
    if asked is None or not asked.job.may(asked.job.submitted_by, Act.SEE):
        return
    if not Approval.objects.filter(pk=job_id, told_at=None).update(told_at=Now()):
        return
    job, note = asked.job, f"{asked.note}\n\n" if asked.note else ""
    by = asked.decided_by or "a grant"
    became = "It is sent now." if asked.decision == Ruling.APPROVED else "It was not sent, and costs nothing."
    mail(
        job.submitted_by.email,
        f"{asked.get_decision_display()}: {_title(job)}",
        f"{_title(job)}\n\n{asked.get_decision_display()} by {by}. {became}\n\n{note}"
        f"{settings.PONDER_URL}{job.get_absolute_url()}\n",
    )


def _asked(job_id: int) -> ApprovalQuerySet:
    beside = ("job__submitted_by", "job__project", "job__prompt", "decided_by")
    return Approval.objects.filter(pk=job_id).select_related(*beside)


def _approvers(job: Job) -> list[User]:
    """Return who is to be told that a job waits for approval."""
    people = _who_may(Act.APPROVE, job.project_id)
    return [person for person in people if person.pk != job.submitted_by_id]


def _title(job: Job) -> str:
    return job.prompt.title if hasattr(job, "prompt") else job.short_id


def mail_budget_request(request_id: int) -> None:
    """Mail those who may set a cap that someone asks for more under it: once, and not whoever asks."""
    asked = BudgetRequest.objects.with_all().filter(pk=request_id, decision="").first()
    if asked is None or not _first(asked, "mailed_at"):
        return
    for person in _deciders(asked.budget):
        if person.pk != asked.asked_by_id:
            mail(
                person.email,
                f"{asked.asked_by} asks for ${asked.amount:,.2f} more: {asked.budget}",
                f"{asked.asked_by} asks for ${asked.amount:,.2f} more under the {asked.budget}, until "
                f"{asked.until:%-d %B %Y}:\n\n{asked.why}\n\n{settings.PONDER_URL}/budget/more/\n",
            )


def mail_budget_decision(request_id: int) -> None:
    """Mail whoever asked for more budget what was decided: once, if they can still sign in."""
    asked = BudgetRequest.objects.with_all().exclude(decision="").filter(pk=request_id).first()
    if asked is None or not asked.asked_by.is_active or not _first(asked, "told_at"):
        return
    note = f"{asked.note}\n\n" if asked.note else ""
    until = f" until {asked.until:%-d %B %Y}" if asked.decision == RequestDecision.GRANTED else ""
    mail(
        asked.asked_by.email,
        f"{asked.get_decision_display()}: ${asked.amount:,.2f} more, {asked.budget}",
        f"{asked.get_decision_display()} by {asked.decided_by}: ${asked.amount:,.2f} more under the "
        f"{asked.budget}{until}.\n\n{note}{settings.PONDER_URL}/budget/more/\n",
    )


def _first(asked: BudgetRequest, column: str) -> bool:
    """Tell whether this is the first to tell of a request; nobody else does then."""
    untold = BudgetRequest.objects.filter(pk=asked.pk, **{column: None})
    return untold.update(**{column: Now()}) == 1


def _deciders(budget: Budget) -> list[User]:
    """Return who is to be told what is asked of a budget: its project's managers, else the operators."""
    return _who_may(Act.SET_CAP, budget.project_id)


def _who_may(act: Act, project_id: int | None) -> list[User]:
    """Return the members of a project who may do an act; the operators where there is none."""
    members = Membership.objects.that_may(act).filter(project=project_id).select_related("user")
    people = [member.user for member in members]
    return people or list(User.objects.filter(is_superuser=True, is_active=True))


def mail_alert(alert: Alert) -> bool | None:
    """Mail an alert to whom its cap concerns; False if none of the mails was taken, None without anyone."""
    people = {person.pk: person for person in _deciders(alert.budget)}
    own = alert.budget.user
    if own is not None and own.is_active:
        people[own.pk] = own
    text = f"{_said(alert)}\n\n{settings.PONDER_URL}/budget/\n"
    taken = [mail(person.email, _said(alert), text) for person in people.values()]
    return any(taken) if taken else None


def post_alert(alert: Alert) -> tuple[bool | None, str]:
    """Post an alert in the chat of its project, or of the workspace; a person's cap is told to nobody there.

    Returns whether it was taken, None without a chat, and a code for what went wrong.
    """
    chat = None if alert.budget.user_id else Chat.objects.of(alert.budget.project)
    if chat is None or alert.budget.token_id:
        return None, ""
    try:
        openai_client.post_chat(
            chat.address.reveal(),
            f"{_said(alert)} {settings.PONDER_URL}/budget/",
            is_guarded=not settings.PONDER_ALLOW_PRIVATE_ADDRESSES,
        )
    except SecretUnreadable:
        return False, "address_unreadable"
    except openai_client.ChatRefused as refused:
        return False, refused.code
    return True, ""


def _said(alert: Alert) -> str:
    return (
        f"{alert.month:%B}: {alert.threshold}% of the {alert.budget} is {alert.get_measure_display()}, "
        f"${alert.amount:,.2f} of ${alert.room:,.2f}."
    )
