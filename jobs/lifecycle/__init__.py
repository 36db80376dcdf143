"""The life of a job: submit, send, poll, finish, cancel, run again, adopt; alone moves a status."""

from jobs.lifecycle.cancelling import NotCancellable, cancel, finish_without_answering
from jobs.lifecycle.connections import pause, resume
from jobs.lifecycle.doorbell import install_watchdog, ring
from jobs.lifecycle.journal import replay
from jobs.lifecycle.pump import run_pump
from jobs.lifecycle.sending import sends_in_progress
from jobs.lifecycle.spec import JobSpec, SpecError, ceiling_at, ceiling_of, problems_of
from jobs.lifecycle.submission import OverJobLimit, record, submit, successor_spec
from jobs.lifecycle.text import render_due, usual_seconds
from jobs.lifecycle.unconfirmed import Decision, NotAdoptable, NotUnconfirmed, resolve
from jobs.lifecycle.waking import wake

__all__ = [
    "Decision",
    "JobSpec",
    "NotAdoptable",
    "NotCancellable",
    "NotUnconfirmed",
    "OverJobLimit",
    "SpecError",
    "cancel",
    "ceiling_at",
    "ceiling_of",
    "finish_without_answering",
    "install_watchdog",
    "pause",
    "problems_of",
    "record",
    "render_due",
    "replay",
    "resolve",
    "resume",
    "ring",
    "run_pump",
    "sends_in_progress",
    "submit",
    "successor_spec",
    "usual_seconds",
    "wake",
]
