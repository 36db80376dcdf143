"""Says which role may do which act: one matrix that models, views and tests read."""

from enum import IntEnum, StrEnum


class Role(IntEnum):
    """A member's role in a project; each includes the ones below it."""

    VIEWER = 1
    SUBMITTER = 2
    APPROVER = 3
    MANAGER = 4


class Act(StrEnum):
    """Something a person does to a project or to one of its jobs."""

    SEE = "see"
    SUBMIT = "submit"
    CANCEL = "cancel"
    RERUN = "rerun"
    RESOLVE = "resolve"  # decide about an unconfirmed job, or end one that waits for an answer
    APPROVE = "approve"  # let a job above the limit or without budget go, or refuse it
    JUDGE = "judge"  # say whether an answer is right, or write a note beside a job
    TAG = "tag"  # change a job's tags, and with them what its cost counts for
    SET_CAP = "set_cap"
    CHANGE_PROJECT = "change_project"
    CHANGE_MEMBERS = "change_members"  # invite, give roles, remove; anyone may leave


# The lowest role that may do an act to anything in the project.
LOWEST_ROLE: dict[Act, Role] = {
    Act.SEE: Role.VIEWER,
    Act.SUBMIT: Role.SUBMITTER,
    Act.CANCEL: Role.APPROVER,
    Act.RERUN: Role.SUBMITTER,
    Act.RESOLVE: Role.APPROVER,
    Act.APPROVE: Role.APPROVER,  # also of one's own
    Act.JUDGE: Role.SUBMITTER,
    Act.TAG: Role.SUBMITTER,
    Act.SET_CAP: Role.MANAGER,
    Act.CHANGE_PROJECT: Role.MANAGER,
    Act.CHANGE_MEMBERS: Role.MANAGER,
}

# The lowest role that may do an act to a job of one's own, where that is less.
LOWEST_ROLE_FOR_OWN: dict[Act, Role] = {
    Act.CANCEL: Role.SUBMITTER,
    Act.RESOLVE: Role.SUBMITTER,
}


def allowed(act: Act, *, role: Role | None, is_operator: bool = False, is_own: bool = False) -> bool:
    """Tell whether someone may do `act`.

    `role` is theirs in the project, None for no membership; an operator (a superuser) may do everything;
    `is_own` means the job was submitted by them.
    """
    if is_operator:
        return True
    if role is None:
        return False
    lowest = LOWEST_ROLE_FOR_OWN.get(act, LOWEST_ROLE[act]) if is_own else LOWEST_ROLE[act]
    return role >= lowest
