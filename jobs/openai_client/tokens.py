"""Get tokens from a command of the operators' own, and keep each until shortly before it expires."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import re
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from .errors import Blocked

NAME = "PONDER_AZURE_TOKEN_COMMAND"
TIME_LIMIT = 10.0  # seconds that the command may take
MARGIN = 300.0  # seconds before its end from which a token is no longer used
UNKNOWN_LIFE = 600.0  # seconds, where nothing says when a token ends
# Seconds until the command is run again after it failed, or after a token that it gave was refused: what is
# followed meanwhile asks several times a second.
PATIENCE = 30.0

_SIZE_LIMIT = 16_384  # characters of a token
_OUTPUT_LIMIT = 65_536  # bytes that the command may print, with what it says beside the token
_WORD = re.compile(r"[!-~]+")
# The command is the operators' own, and needs nothing of what only Ponder should know.
_OURS = re.compile(r"PONDER_.*|OPENAI_.*|DATABASE_URL|SECRET_KEY")


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    made_at: float  # seconds since the epoch, as the others
    good_until: float


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    made_at: float


# Of this process, by command: what one pump was given serves the next.
_kept: dict[tuple[str, ...], _Token | _Failure] = {}


class Tokens:
    """The tokens of one command, for one event loop: however many wait for one, it is run once."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._asked: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """Return a token that is good for some minutes. Raises Blocked where the command gives none."""
        kept = _kept.get(self._command)
        if isinstance(kept, _Token) and time.time() < kept.good_until:
            return kept.value
        if isinstance(kept, _Failure) and time.time() < kept.made_at + PATIENCE:
            raise Blocked(kept.message, code="token_command")
        return await self._fresh()

    async def renew(self, refused: str) -> bool:
        """Get another token than one that was refused; False where that one is new. Raises Blocked."""
        kept = _kept.get(self._command)
        if isinstance(kept, _Token) and kept.value == refused:
            if time.time() < kept.made_at + PATIENCE:
                return False
            return await self._fresh() != refused
        return await self.get() != refused

    async def close(self) -> None:
        """Stop waiting for the command."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait([self._asked])

    async def _fresh(self) -> str:
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(_run(self._command))
            self._asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._asked)


async def _run(command: tuple[str, ...]) -> str:
    """Run the command, keep what came of it, and return the token. Raises Blocked."""
    try:
        said = await _said_by(command)
        token = _read(said, time.time())
    except Blocked as error:
        _kept[command] = _Failure(error.message, time.time())
        raise
    _kept[command] = token
    return token.value


async def _said_by(command: tuple[str, ...]) -> bytes:
    """Return what the command prints; what it writes to stderr is dropped, for it may hold a secret."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)},
        )
    except OSError as error:
        raise _blocked(f"cannot be run ({error.strerror})") from None
    try:
        async with asyncio.timeout(TIME_LIMIT):
            said = await _all_of(process.stdout)
            await process.wait()
    except TimeoutError:
        raise _blocked(f"took longer than {TIME_LIMIT:.0f} s") from None
    except OverflowError:
        raise _blocked("printed no token") from None
    finally:
        # With all that it has started: a script may leave the real work, and the pipe, to a child.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise _blocked(f"failed (exit code {process.returncode})")
    return said


async def _all_of(pipe: asyncio.StreamReader | None) -> bytes:
    """Read a pipe to its end. Raises OverflowError where that is not near: it would fill the memory."""
    said = b""
    while pipe and (more := await pipe.read(_OUTPUT_LIMIT)):
        said += more
        if len(said) > _OUTPUT_LIMIT:
            raise OverflowError
    return said


def _read(said: bytes, now: float) -> _Token:
    """Read a token from what was printed: the token alone, or JSON as `az` and `azd` write it."""
    text = said.decode(errors="replace").strip()
    found: dict[str, Any] = {"token": text}
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = {}
    values = (found.get(name) for name in ("accessToken", "access_token", "token"))
    value = next((one for one in values if isinstance(one, str)), "")
    if not _WORD.fullmatch(value) or len(value) > _SIZE_LIMIT:
        raise _blocked("printed no token")
    ends_at = _end_of(found, now)
    life = UNKNOWN_LIFE if ends_at is None else ends_at - now
    if life <= 0:
        raise _blocked("printed a token that has expired")
    # Of a short life at least half is used.
    return _Token(value, now, now + (life if ends_at is None else max(life - MARGIN, life / 2)))


def _end_of(found: dict[str, Any], now: float) -> float | None:
    """Return when a token ends, in seconds since the epoch; None where nothing says so."""
    for name, since in (("expires_on", 0.0), ("expires_in", now)):
        with contextlib.suppress(KeyError, ValueError, OverflowError):
            return since + int(float(str(found[name])))
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        # Without a zone it is the machine's own time: older versions of `az` write it so.
        return dt.datetime.fromisoformat(str(found["expiresOn"])).timestamp()
    return None


def _blocked(what: str) -> Blocked:
    return Blocked(f"{NAME} {what}.", code="token_command")
