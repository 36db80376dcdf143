"""Make, read and lock the few files that Ponder keeps in its data directory."""

import fcntl
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self


class InUse(Exception):
    """Another process holds the lock; the message is its process id."""


def chosen() -> Path:
    """Return where the data directory is, whether it has been made or not."""
    named = os.environ.get("PONDER_DATA_DIR", "").strip()
    return Path(named or Path(__file__).resolve().parent.parent / "var").absolute()


def prepare(path: Path) -> Path:
    """Make the data directory if it is missing and return it.

    Made by root it can be passed through, not listed, by others: the bundled database then runs as another
    user and must reach its own folder inside. An existing directory keeps its permissions.
    """
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return path


def private(path: Path) -> Path:
    """Make a folder that only this user can open, and return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def kept(path: Path, make: Callable[[], str]) -> str:
    """Return the text kept at `path`, made by `make()` and stored (0600) on first use.

    Several processes may come first at once: all return what the fastest of them stored.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        private(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(make() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, never replaces what another process stored first.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def touched(*paths: Path) -> int:
    """Return a number that differs whenever one of the files was touched since; 0 before the first time."""
    times = [0]
    for path in paths:
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times)


class Lock:
    """An exclusive lock on a file, freed by the kernel however its holder ends."""

    def __init__(self, path: Path) -> None:
        private(path.parent)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def wait(self) -> None:
        """Take the lock, waiting for its holder."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def take(self) -> None:
        """Take the lock at once and write this process's id into it, or raise `InUse`."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(os.pread(self._file, 32, 0).decode().strip() or "unknown") from None
        os.truncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def free(self) -> None:
        """Give the lock back."""
        os.close(self._file)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
