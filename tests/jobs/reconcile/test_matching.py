"""What a difference is called, on plain values: days, tokens and USD."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.models import Cause
from jobs.reconcile.matching import Billed, Books, Difference, Send, Standing, Sums, Tokens, compare

TODAY = dt.date(2026, 11, 23)
RATES = (Decimal("0.01"), Decimal("0.001"), Decimal("0.1"))  # USD a token


def day(number: int) -> dt.date:
    return TODAY - dt.timedelta(days=number)


def a_send(
    pk: int,
    ago: int,
    tokens: tuple[int, int, int] = (0, 0, 0),
    standing: Standing = Standing.USED,
    cost: Decimal | None = None,
    **more: object,
) -> Send:
    at = dt.datetime.combine(day(ago), dt.time(hour=pk % 24), dt.UTC)
    price = sum((count * rate for count, rate in zip(tokens, RATES, strict=True)), Decimal(0))
    return Send(pk, day(ago), at, standing, price if cost is None else cost, Tokens(*tokens), **more)  # type: ignore[arg-type]


def a_bill(
    *days: tuple[int, tuple[int, int, int]], factor: str = "1", places: int = 10
) -> dict[dt.date, Billed]:
    found = {}
    for ago, tokens in days:
        found[day(ago)] = billed = Billed()
        for kind, count in enumerate(tokens):
            if count:
                amount = round(count * RATES[kind] * Decimal(factor), places)
                billed.add(kind, count, amount, places)
    return found


def compared(bill: dict[dt.date, Billed], sends: Sequence[Send], since: int = 30) -> list[Difference]:
    used = [send for send in sends if send.standing == Standing.USED]
    booked: dict[dt.date, Sums] = {}
    for send in used:
        assert send.ended_on
        before = booked.get(send.ended_on, Sums())
        booked[send.ended_on] = Sums(
            before.cost + send.cost, before.tokens.plus(send.tokens), before.sends + 1
        )
    books = Books(
        bill=bill,
        booked=booked,
        silent=[send for send in sends if send.standing != Standing.USED],
        sends_on=lambda on: [send for send in used if send.ended_on == on],
        rates=RATES,
        is_ours=bool(sends),
    )
    return compare(books, since=day(since), today=TODAY)


def named(found: list[Difference]) -> dict[str, str]:
    return {one.cause: f"{one.billed - one.booked:.2f}" for one in found}


A, B = (100, 0, 10), (200, 50, 20)  # 2 USD, 4.05 USD


def test_tokens_and_dollars_that_agree_match() -> None:
    (one,) = compared(a_bill((1, A), (2, B)), [a_send(1, 1, A), a_send(2, 2, B)])
    assert (one.cause, one.billed, one.jobs) == (Cause.MATCHED, Decimal("6.05"), 2)


def test_what_is_billed_on_the_next_day_is_late() -> None:
    found = compared(
        a_bill((8, (300, 50, 30)), (9, (1, 0, 0))),
        [a_send(1, 8, A), a_send(2, 9, B), a_send(3, 9, (1, 0, 0))],
    )
    assert named(found) == {Cause.LATE: "0.00", Cause.MATCHED: "0.00"}
    late = found[0]
    assert (late.day, late.billed, [part.send.pk for part in late.parts]) == (day(8), Decimal("4.05"), [2])


@pytest.mark.parametrize(("ago", "cause"), [(0, Cause.LATE), (3, Cause.LATE), (4, Cause.UNEXPLAINED)])
def test_what_is_not_billed_is_late_for_three_days(ago: int, cause: Cause) -> None:
    found = compared({}, [a_send(1, ago, A)])
    assert named([one for one in found if one.cause == cause]) == {cause: "-2.00"}


@pytest.mark.parametrize("standing", [Standing.ESTIMATED, Standing.BOUND, Standing.FREE])
def test_tokens_of_what_ended_without_usage_are_its(standing: Standing) -> None:
    silent = a_send(2, 5, standing=standing, cost=Decimal("1.50"), ceiling=Decimal(5))
    found = compared(a_bill((5, (300, 50, 30))), [a_send(1, 5, A), silent])
    assert named(found) == {Cause.NO_USAGE: "2.55", Cause.MATCHED: "0.00"}
    (part,) = found[0].parts
    assert (part.send, part.should_be, part.tokens) == (silent, Decimal("4.05"), Tokens(*B))


def test_an_estimate_that_is_right_needs_nobody() -> None:
    silent = a_send(2, 5, standing=Standing.ESTIMATED, cost=Decimal("4.05"), ceiling=Decimal(5))
    assert named(compared(a_bill((5, B)), [silent])) == {Cause.MATCHED: "0.00"}


@pytest.mark.parametrize(("ago", "cause"), [(3, Cause.LATE), (4, Cause.NO_USAGE)])
def test_an_estimate_of_what_is_not_billed_at_all_is_too_much_after_three_days(
    ago: int, cause: Cause
) -> None:
    silent = a_send(2, ago, standing=Standing.ESTIMATED, cost=Decimal("1.5"), ceiling=Decimal(5))
    (one,) = compared({}, [silent])
    assert (one.cause, one.booked, one.parts[0].should_be) == (
        cause,
        Decimal("1.5"),
        None if cause == Cause.LATE else 0,
    )


def test_tokens_of_a_send_nobody_heard_of_are_a_twins() -> None:
    lost = a_send(2, 5, standing=Standing.UNHEARD, ceiling=Decimal(5))
    (twin, _) = compared(a_bill((5, (200, 0, 20))), [a_send(1, 5, A), lost])
    assert (twin.cause, twin.billed, twin.parts[0].should_be) == (Cause.TWIN, 2, 2)


def test_nothing_is_booked_for_a_send_that_holds_money_still() -> None:
    unsure = a_send(2, 5, standing=Standing.UNHEARD, ceiling=Decimal(5), is_open=True)
    (twin,) = (one for one in compared(a_bill((5, A)), [unsure]) if one.cause == Cause.TWIN)
    assert twin.parts[0].should_be is None
    assert "Decide about the unconfirmed send first." in twin.note


def test_what_runs_there_and_was_not_read_here_is_late() -> None:
    running = Send(2, day(0), None, Standing.RUNNING, Decimal(0), ceiling=Decimal(5))
    (late,) = (one for one in compared(a_bill((0, A)), [running]) if one.billed)
    assert (late.cause, late.billed, late.parts[0].should_be) == (Cause.LATE, 2, None)


def test_of_several_the_one_whose_input_was_billed_is_meant() -> None:
    silent = [
        a_send(2, 5, standing=Standing.ESTIMATED, ceiling=Decimal(9), known_input=90),
        a_send(3, 5, standing=Standing.UNHEARD, ceiling=Decimal(9), known_input=100),
    ]
    found = compared(a_bill((5, A)), silent)
    assert [(one.cause, one.parts[0].send.pk) for one in found if one.parts] == [(Cause.TWIN, 3)]


def test_several_whose_inputs_make_up_the_bill_share_it_to_the_last_digit() -> None:
    silent = [
        a_send(2, 5, standing=Standing.ESTIMATED, ceiling=Decimal(9), known_input=90),
        a_send(3, 5, standing=Standing.UNHEARD, ceiling=Decimal(8), known_input=10),
    ]
    found = [one for one in compared(a_bill((5, A)), silent) if one.parts]
    assert [one.cause for one in found] == [Cause.NO_USAGE, Cause.TWIN]
    assert sum(part.should_be or 0 for one in found for part in one.parts) == 2


def test_nobody_is_given_more_than_its_ceiling() -> None:
    silent = a_send(2, 5, standing=Standing.ESTIMATED, ceiling=Decimal(1))
    found = compared(a_bill((5, A)), [silent])
    assert named(found)[Cause.NO_USAGE] == named(found)[Cause.UNEXPLAINED] == "1.00"


def test_tokens_that_agree_at_another_price_are_a_change_of_price() -> None:
    found = compared(a_bill((5, (300, 50, 30)), factor="0.8"), [a_send(1, 5, A), a_send(2, 5, B)])
    assert named(found) == {Cause.PRICE: "-1.21"}
    assert [part.should_be for part in found[0].parts] == [Decimal("1.6"), Decimal("3.24")]


def test_half_of_the_last_place_of_an_amount_is_rounding() -> None:
    sends = [a_send(1, 5, (101, 0, 0), cost=Decimal("1.0149"))]
    assert named(compared(a_bill((5, (101, 0, 0)), places=2), sends)) == {Cause.ROUNDING: "-0.00"}
    sends = [a_send(1, 5, (101, 0, 0), cost=Decimal("1.0251"))]
    assert named(compared(a_bill((5, (101, 0, 0)), places=2), sends)) == {Cause.PRICE: "-0.02"}


def test_what_nobody_here_sent_is_outside() -> None:
    (one,) = compared(a_bill((5, A), (6, B)), [])
    assert (one.cause, one.billed, one.booked) == (Cause.OUTSIDE, Decimal("6.05"), 0)
    assert compared(a_bill((40, A)), []) == []


def test_what_has_no_cause_is_said_to_have_none() -> None:
    more = compared(a_bill((5, (300, 0, 10))), [a_send(1, 5, A)])
    assert named(more) == {Cause.UNEXPLAINED: "2.00", Cause.MATCHED: "0.00"}
    less = compared(a_bill((5, (50, 0, 10))), [a_send(1, 5, A)])
    assert named(less) == {Cause.UNEXPLAINED: "-0.50", Cause.MATCHED: "0.00"}


def test_a_bill_that_tells_no_cached_input_has_it_among_the_input() -> None:
    send = a_send(1, 5, B, cost=Decimal("4.5"))
    assert named(compared(a_bill((5, (250, 0, 20))), [send])) == {Cause.MATCHED: "0.00"}


def test_such_a_bill_is_searched_for_what_is_late_as_well() -> None:
    found = compared(a_bill((8, (350, 0, 30))), [a_send(1, 8, A), a_send(2, 9, B, cost=Decimal("4.5"))])
    assert named(found) == {Cause.LATE: "0.00", Cause.MATCHED: "0.00"}


def test_a_bill_that_counts_nothing_is_compared_in_dollars() -> None:
    billed = Billed()
    billed.add(0, None, Decimal("2"), 2)
    assert named(compared({day(5): billed}, [a_send(1, 5, A)])) == {Cause.MATCHED: "0.00"}
    assert named(compared({day(5): billed}, [a_send(1, 5, B)])) == {Cause.UNEXPLAINED: "-2.05"}


def test_nothing_booked_for_what_is_billed_has_no_cause() -> None:
    free = a_send(1, 5, A, cost=Decimal(0))
    assert named(compared(a_bill((5, A)), [free])) == {Cause.UNEXPLAINED: "2.00"}


def test_days_before_the_first_only_help_to_explain_it() -> None:
    found = compared(a_bill((30, A), (32, B)), [a_send(1, 31, A)])
    assert named(found) == {Cause.LATE: "0.00"}


COUNTS = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
SENDS = st.lists(
    st.tuples(st.integers(0, 8), COUNTS, st.sampled_from(list(Standing)), st.integers(0, 9)), max_size=8
)
BILLS = st.dictionaries(st.integers(0, 8), COUNTS, max_size=6)


@given(BILLS, SENDS, st.sampled_from(["1", "0.7", "1.333"]), st.sampled_from([2, 10]))
def test_the_differences_add_up_to_both_sides_to_the_last_digit(
    bill: dict[int, tuple[int, int, int]],
    wanted: list[tuple[int, tuple[int, int, int], Standing, int]],
    factor: str,
    places: int,
) -> None:
    sends = [
        a_send(
            pk,
            ago,
            tokens if standing == Standing.USED else (0, 0, 0),
            standing,
            Decimal(cost),
            ceiling=Decimal(3),
        )
        for pk, (ago, tokens, standing, cost) in enumerate(wanted)
        if standing in (Standing.USED, Standing.ESTIMATED, Standing.BOUND)
    ]
    lines = a_bill(*bill.items(), factor=factor, places=places)
    found = compared(lines, sends)
    assert sum(one.billed for one in found) == sum(billed.amount for billed in lines.values())
    assert sum(one.booked for one in found) == sum(send.cost for send in sends)


def test_of_a_day_those_are_late_that_make_up_what_it_lacks() -> None:
    first, second, third = (10, 0, 1), (20, 0, 2), (40, 0, 4)
    sends = [a_send(1, 9, first), a_send(2, 9, second), a_send(3, 9, third)]
    late, *_ = compared(a_bill((9, (40, 0, 4)), (8, (30, 0, 3))), sends)
    assert [part.send.pk for part in late.parts] == [2, 1]
    late, *_ = compared(a_bill((9, (20, 0, 2)), (8, (50, 0, 5))), sends)
    assert {part.send.pk for part in late.parts} == {1, 3}


def test_where_nothing_makes_up_what_a_day_lacks_those_that_fit_are_late() -> None:
    sends = [a_send(1, 9, A), a_send(2, 9, (10, 0, 1))]
    found = compared(a_bill((9, (99, 0, 10)), (8, (10, 0, 1))), sends)
    assert named(found) == {Cause.LATE: "0.00", Cause.UNEXPLAINED: "-0.01", Cause.MATCHED: "0.00"}
