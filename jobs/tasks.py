"""The functions that Django-Q2's workers run; each is safe to run twice or late."""

from jobs import lifecycle, notify, reconcile
from jobs.models import Tally


def send_due() -> None:
    """Send the jobs that are due."""
    lifecycle.run_pump("send")


def poll_due() -> None:
    """Ask for the responses that are due."""
    lifecycle.run_pump("poll")


def render_due() -> None:
    """Render the answers whose HTML is not current."""
    lifecycle.render_due()


def watchdog() -> None:
    """Ring for overdue work that no pump is doing, mind grants and alerts, and add up what was counted."""
    lifecycle.wake()
    lifecycle.mind_grants()
    lifecycle.mind_alerts()
    Tally.objects.fold()


def sweep() -> None:
    """Forget old uploads that no job was given, old webhook deliveries, and machines that are gone.

    Look where the month will likely end and note it for everyone; reconcile with the bill, once a day.
    """
    lifecycle.forget_unused()
    lifecycle.forget_deliveries()
    lifecycle.forget_silent()
    lifecycle.mind_forecasts()
    lifecycle.foretell()
    reconcile.ask_daily()


def test_connection(connection_id: int) -> None:
    """Test a connection for whoever looks at its page."""
    lifecycle.test(connection_id)


def mail_sign_in_link(user_id: int) -> None:
    """Mail someone a link that lets them choose a new password."""
    notify.mail_sign_in_link(user_id)


def mail_approvers(job_id: int) -> None:
    """Mail those who may approve a job that it waits for them."""
    notify.mail_approvers(job_id)


def mail_decision(job_id: int) -> None:
    """Mail whoever asked what was decided about a job."""
    notify.mail_decision(job_id)


def mail_budget_request(request_id: int) -> None:
    """Mail those who may let more be spent that someone asks for it."""
    notify.mail_budget_request(request_id)


def mail_budget_decision(request_id: int) -> None:
    """Mail whoever asked for more budget what was decided."""
    notify.mail_budget_decision(request_id)


def hand_on_grant(request_id: int) -> None:
    """Let the jobs go that waited for a grant."""
    lifecycle.hand_on(request_id)


def deliver_alert(alert_id: int) -> None:
    """Tell people and a chat how much of a cap is used."""
    lifecycle.deliver_alert(alert_id)


def mail_job_end(job_id: int) -> None:
    """Mail whoever asked for it that a job of theirs has ended."""
    notify.mail_job_end(job_id)


def reconcile_bill(reconciliation_id: int) -> None:
    """Compare our charges with what was billed."""
    reconcile.run(reconciliation_id)


def book_difference(line_id: int) -> None:
    """Adjust the ledger to a difference that is about many jobs."""
    reconcile.book_on(line_id)
