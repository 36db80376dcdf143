"""The functions that Django-Q2's workers run; each is safe to run twice or late."""

from jobs import lifecycle


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
    """Ring for overdue work that no pump is doing."""
    lifecycle.wake()
