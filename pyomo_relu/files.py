"""Files that are complete or absent: write to a temporary file, then replace."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pyomo_relu.errors import InputTypeError, OutputError


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse an output path early, before any work is done for it.

    Returns
    -------
    Path
        The file that would be written: `path` with symbolic links followed.

    Raises
    ------
    InputTypeError
        `path` is not a path.
    OutputError
        The folder does not exist or is not writable; the path is a folder, a
        device or a read-only file.
    """
    name = path_text(path)
    try:
        target = Path(os.path.realpath(name))
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(target)
    except (OSError, ValueError) as error:  # too long, or with a null character
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {name!r}: {reason}.") from error
    folder = target.parent
    if os.path.islink(target):
        raise OutputError(f"cannot write {name!r}: its symbolic links form a loop.")
    if not os.path.isdir(folder):
        raise OutputError(
            f"cannot write {name!r}: the folder {str(folder)!r} does not "
            "exist. Create it first, or give another path."
        )
    if os.path.isdir(target):
        raise OutputError(f"cannot write {name!r}: it is a folder.")
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise OutputError(f"cannot write {name!r}: it is not a regular file.")
        if not os.access(target, os.W_OK):
            raise OutputError(
                f"cannot write {name!r}: the file exists and is read-only. Make it "
                "writable (chmod u+w), or give another path."
            )
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {name!r}: the folder {str(folder)!r} is not writable."
        )
    return target


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text.

    Raises
    ------
    InputTypeError
        `path` is neither text nor a path object.
    """
    text: object = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InputTypeError(
            f"a path must be text or a pathlib.Path; got {path!r} of type "
            f"{type(path).__name__}."
        )
    return text


def _mode(target: Path) -> int:
    """Return the permissions that `target` has, or would have as a new file."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode) & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], None]
) -> None:
    """Call `write` on a temporary file beside `path`, then move it into place.

    A reader sees the old file or the whole new one, never a part. A symbolic link
    stays one, and a file that exists keeps its permissions.

    Raises
    ------
    InputTypeError
        `path` is not a path.
    OutputError
        The file cannot be written; `path` is as it was.
    """
    target = check_writable(path)
    try:
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name[:32]}.", suffix=".tmp"
        )
    except OSError as error:
        raise OutputError(f"cannot write {str(target)!r}: {error}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        # mkstemp makes private files.
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"cannot write {str(target)!r}: {error}") from error
        raise
