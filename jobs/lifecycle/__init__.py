"""The life of a job: submit, send, poll, finish, cancel, run again, adopt; alone moves a status."""

from jobs.lifecycle.alerting import deliver_alert, mind_alerts, mind_forecasts
from jobs.lifecycle.answering import (
    Card,
    Draft,
    NotWaiting,
    answer,
    ask_to_answer,
    cards,
    finish_without_answering,
    reply_spec,
    save_replies,
    saved_draft,
)
from jobs.lifecycle.approval import NotAwaiting, approve, ask, reject, run_cheaper
from jobs.lifecycle.attaching import GONE, forget_unused, given_as, keep_file
from jobs.lifecycle.calls import Call, Reply, is_answer, replies_of, takes_files
from jobs.lifecycle.cancelling import NotCancellable, cancel
from jobs.lifecycle.connections import (
    TEST_PATIENCE,
    ask_for_test,
    drop_previous_webhook_secret,
    models_at,
    pause,
    pause_all,
    relieve,
    resume,
    resume_all,
    set_webhook_secret,
    test,
)
from jobs.lifecycle.deliveries import Announcement, forget_deliveries, handle_again, receive, refuse
from jobs.lifecycle.doorbell import install_watchdog, last_watch, ring, ring_for
from jobs.lifecycle.ending import used_by
from jobs.lifecycle.foretelling import foretell
from jobs.lifecycle.hastening import NothingToRender, NotPolled, poll_now, render_again
from jobs.lifecycle.installations import forget_silent, note_beat
from jobs.lifecycle.instead import instead, settled
from jobs.lifecycle.journal import replay, replay_copied
from jobs.lifecycle.more_budget import (
    AlreadyDecided,
    BadUntil,
    ask_for_budget,
    grant_budget,
    hand_on,
    mind_grants,
    refuse_budget,
)
from jobs.lifecycle.pump import run_pump
from jobs.lifecycle.remarks import NothingToJudge, add_note, judge, remove_note, retag
from jobs.lifecycle.restoring import hold_restored
from jobs.lifecycle.spec import JobSpec, SpecError, ceiling_at, ceiling_of, problems_of, windows_of
from jobs.lifecycle.submission import (
    OverJobLimit,
    PromptGone,
    asked,
    follow_up,
    record,
    submit,
    successor_spec,
    worst_case,
)
from jobs.lifecycle.text import render_due, usual_seconds
from jobs.lifecycle.threads import Turn, can_be_followed, outline
from jobs.lifecycle.unconfirmed import Decision, NotAdoptable, NotUnconfirmed, resolve
from jobs.lifecycle.waking import wake

__all__ = [
    "GONE",
    "TEST_PATIENCE",
    "AlreadyDecided",
    "Announcement",
    "BadUntil",
    "Call",
    "Card",
    "Decision",
    "Draft",
    "JobSpec",
    "NotAdoptable",
    "NotAwaiting",
    "NotCancellable",
    "NotPolled",
    "NotUnconfirmed",
    "NotWaiting",
    "NothingToJudge",
    "NothingToRender",
    "OverJobLimit",
    "PromptGone",
    "Reply",
    "SpecError",
    "Turn",
    "add_note",
    "answer",
    "approve",
    "ask",
    "ask_for_budget",
    "ask_for_test",
    "ask_to_answer",
    "asked",
    "can_be_followed",
    "cancel",
    "cards",
    "ceiling_at",
    "ceiling_of",
    "deliver_alert",
    "drop_previous_webhook_secret",
    "finish_without_answering",
    "follow_up",
    "foretell",
    "forget_deliveries",
    "forget_silent",
    "forget_unused",
    "given_as",
    "grant_budget",
    "hand_on",
    "handle_again",
    "hold_restored",
    "install_watchdog",
    "instead",
    "is_answer",
    "judge",
    "keep_file",
    "last_watch",
    "mind_alerts",
    "mind_forecasts",
    "mind_grants",
    "models_at",
    "note_beat",
    "outline",
    "pause",
    "pause_all",
    "poll_now",
    "problems_of",
    "receive",
    "record",
    "refuse",
    "refuse_budget",
    "reject",
    "relieve",
    "remove_note",
    "render_again",
    "render_due",
    "replay",
    "replay_copied",
    "replies_of",
    "reply_spec",
    "resolve",
    "resume",
    "resume_all",
    "retag",
    "ring",
    "ring_for",
    "run_cheaper",
    "run_pump",
    "save_replies",
    "saved_draft",
    "set_webhook_secret",
    "settled",
    "submit",
    "successor_spec",
    "takes_files",
    "test",
    "used_by",
    "usual_seconds",
    "wake",
    "windows_of",
    "worst_case",
]
