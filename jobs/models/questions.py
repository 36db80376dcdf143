"""Keeps questions as the ORM has written them, to ask them again with other values.

The ORM takes one to four milliseconds to write what the database answers in a fraction of that.
"""

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

# Settings of the planner that hold for one question, with their values.
type Hint = tuple[tuple[str, str], ...]

# The planner may count on finding the first few rows it wants early in the table. It cannot know which those
# are when that is left open, nor that long texts are stored apart and take their time to be read.
BY_INDEX: Hint = (("enable_seqscan", "off"),)
# Where it takes a busy project for an average one, it reads all that there is of a kind, to sort it.
IN_ORDER: Hint = (("enable_bitmapscan", "off"), *BY_INDEX)
# The order of ten tables that are joined to one row takes it eight milliseconds to choose, for nothing.
AS_JOINED: Hint = (("join_collapse_limit", "1"),)

_ANYTHING: "models.Field[Any, Any]" = models.Field()


class Blank(models.Expression):
    """A value that a question leaves open until it is asked; it stands where a filter takes an expression."""

    def __init__(self, name: str) -> None:
        super().__init__(output_field=_ANYTHING)
        self.name = name

    # Shapes of lists are compared by their blanks for every page; an expression's own way takes its time.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blank) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def as_sql(
        self,
        compiler: SQLCompiler,  # noqa: ARG002 (Django's signature)
        connection: BaseDatabaseWrapper,  # noqa: ARG002
    ) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)


@dataclass(frozen=True, slots=True)
class Anyone:
    """Stands for the person who will ask: the rules of who sees what apply to it as to anyone."""

    is_superuser: bool
    is_authenticated: ClassVar[bool] = True
    pk: ClassVar[Blank] = Blank("person")


class Among(models.Func):
    """Whether a column has one of the values of a list, which may be a blank."""

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = models.BooleanField()


class AlsoAmong(models.Func):
    """Whether an integer column has one of them too, in rows that another condition finds.

    No index is asked for it: the planner would read every entry of theirs beside the few it has already.
    """

    template = "%(expressions)s)"
    arg_joiner = " + 0 = ANY("
    output_field = models.BooleanField()


class Question[Row]:
    """A QuerySet with blanks; its rows are made as a QuerySet makes them."""

    def __init__(self, rows: models.QuerySet[Any, Row], *, hint: Hint = ()) -> None:
        self._rows = rows
        self._compiler: SQLCompiler = rows.query.get_compiler(DEFAULT_DB_ALIAS)
        self.sql, self.params = self._compiler.as_sql()
        columns = [column for column, *_ in self._compiler.select[: self._compiler.col_count]]
        self._converters = self._compiler.get_converters(columns)
        self.hint = hint

    def ask(self, **values: Any) -> list[Row]:
        """Return the rows, with a value for every blank."""
        return self.made_of(_answer(self.sql, self.params, values, self.hint))

    def first(self, **values: Any) -> Row | None:
        """Return the first row, with a value for every blank; None where there is none."""
        return next(iter(self.ask(**values)), None)

    def get(self, **values: Any) -> Row:
        """Return the first row, with a value for every blank. Raises the model's DoesNotExist."""
        for row in self.ask(**values):
            return row
        raise self._rows.model.DoesNotExist

    def made_of(self, answer: list[tuple[Any, ...]]) -> list[Row]:
        """Return the rows of what the database has answered."""
        compiler = copy.copy(self._compiler)
        # Questions are shared by all threads, each of which has a connection of its own.
        compiler.connection = connections[DEFAULT_DB_ALIAS]
        compiler.execute_sql = lambda *_, **__: [answer]  # type: ignore[assignment,method-assign]
        compiler.get_converters = lambda _: self._converters  # type: ignore[assignment,method-assign]
        rows = self._rows.all()
        rows.query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]
        # No QuerySet is handed out: what anyone added to it would be ignored.
        return list(rows)


class Statement:
    """A statement of our own around what the ORM writes: each QuerySet, blank or statement stands at a {}."""

    def __init__(
        self,
        sql: str,
        *parts: "models.QuerySet[Any, Any] | Blank | Statement",
        hint: Hint = (),
    ) -> None:
        written = [_written(part) for part in parts]
        self.sql = sql.format(*(text for text, _ in written))
        self.params = [param for _, params in written for param in params]
        # A part's own hint holds for all of it.
        own = (part.hint for part in parts if isinstance(part, Statement) and part.hint)
        self.hint: Hint = hint or next(own, ())

    def ask(self, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows as the database gives them, with a value for every blank."""
        return self.made_of(_answer(self.sql, self.params, values, self.hint))

    def made_of(self, answer: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return the rows as the database gave them."""
        return answer


class Asked(NamedTuple):
    """A question or statement with a value for each of its blanks."""

    question: Statement | Question[Any]
    values: Mapping[str, Any]

    def ask(self) -> list[Any]:
        """Return the rows, in a trip of their own."""
        return self.question.ask(**self.values)


# Yields what is asked next, and is sent the rows of each.
type Asking = Generator[Sequence[Asked], list[list[Any]]]


def ask_in_turn(asked: Sequence[Statement | Question[Any]], **values: Any) -> list[list[Any]]:
    """Return the rows of questions sent all at once; each sees what is committed when its turn comes.

    One trip for all: each of its own costs a fifth of a millisecond, and more while the machine is busy.
    """
    return _sent([Asked(one, values) for one in asked])


def ask_in_step(*readers: Asking) -> None:
    """Let readers that each ask one thing after another make their trips together.

    In each step they go on in this order, so one can use what those before it were told in the same step.
    """
    under_way = [(reader, next(reader, None)) for reader in readers]
    while under_way := [(reader, asked) for reader, asked in under_way if asked is not None]:
        rows = iter(_sent([one for _, asked in under_way for one in asked]))
        under_way = [(reader, _told(reader, list(islice(rows, len(asked))))) for reader, asked in under_way]


def array_of(ids: Iterable[int]) -> str:
    """Return ids as the database writes an array of them, for a blank of `Among` that stands in many places.

    A list is written anew for each of them, number by number.
    """
    return f"{{{','.join(map(str, ids))}}}"


def hinted(sql: str, hint: Hint) -> str:
    """Return a question between its settings: sent at once they are one transaction, and nothing stays."""
    given = "".join(f"SET LOCAL {name} = {value}; " for name, value in hint)
    return given + sql + "".join(f"; SET LOCAL {name} TO DEFAULT" for name, _ in hint)


def _told(reader: Asking, rows: list[list[Any]]) -> Sequence[Asked] | None:
    """Tell a reader what it has asked for; return what it asks next, None at its end."""
    try:
        return reader.send(rows)
    except StopIteration:
        return None


def _sent(asked: Sequence[Asked]) -> list[list[Any]]:
    if not asked:
        return []
    with connection.cursor() as cursor:
        params = [param for one in asked for param in _filled(one.question.params, one.values)]
        cursor.execute("; ".join(hinted(one.question.sql, one.question.hint) for one in asked), params)
        answers = []
        has_more: bool | None = True
        while has_more:
            # A setting answers without rows. (`description` would be made anew of every column.)
            if cursor.rownumber is not None:
                answers.append(cursor.fetchall())
            has_more = cursor.nextset()
    return [one.question.made_of(answer) for one, answer in zip(asked, answers, strict=True)]


def _answer(sql: str, params: Iterable[Any], values: Mapping[str, Any], hint: Hint) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(hinted(sql, hint), _filled(params, values))
        for _ in hint:
            cursor.nextset()
        return list(cursor.fetchall())


def _filled(params: Iterable[Any], values: Mapping[str, Any]) -> list[Any]:
    return [values[param.name] if isinstance(param, Blank) else param for param in params]


def _written(part: models.QuerySet[Any, Any] | Blank | Statement) -> tuple[str, Sequence[Any]]:
    if isinstance(part, Statement):
        return part.sql, part.params
    return ("%s", (part,)) if isinstance(part, Blank) else part.query.sql_with_params()
