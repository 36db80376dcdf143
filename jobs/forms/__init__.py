"""Translates what a browser sends: sign-in, people, projects, connections, and jobs into a JobSpec."""

from jobs.forms.caps import CapForm, MemberCapForm
from jobs.forms.chat import ChatForm
from jobs.forms.connections import ConnectionForm, PauseForm, RelieveForm
from jobs.forms.job import DecisionForm, ResolveForm
from jobs.forms.new_job import NewJobForm
from jobs.forms.people import InviteForm, InviteToWorkspaceForm, NewPasswordForm, ProfileForm, RoleForm
from jobs.forms.projects import NewProjectForm, ProjectForm
from jobs.forms.reconciliation import AccountForm, BookForm
from jobs.forms.sign_in import (
    ChoosePasswordForm,
    ForgotForm,
    JoinForm,
    JoinWithPasswordForm,
    LinkForm,
    SignInForm,
)
from jobs.forms.thread import follow_up_in, limit_in, replies_in, submission_key_in, text_in, why_in
from jobs.forms.webhooks import DeliveryFilter, WebhookSecretForm

__all__ = [
    "AccountForm",
    "BookForm",
    "CapForm",
    "ChatForm",
    "ChoosePasswordForm",
    "ConnectionForm",
    "DecisionForm",
    "DeliveryFilter",
    "ForgotForm",
    "InviteForm",
    "InviteToWorkspaceForm",
    "JoinForm",
    "JoinWithPasswordForm",
    "LinkForm",
    "MemberCapForm",
    "NewJobForm",
    "NewPasswordForm",
    "NewProjectForm",
    "PauseForm",
    "ProfileForm",
    "ProjectForm",
    "RelieveForm",
    "ResolveForm",
    "RoleForm",
    "SignInForm",
    "WebhookSecretForm",
    "follow_up_in",
    "limit_in",
    "replies_in",
    "submission_key_in",
    "text_in",
    "why_in",
]
