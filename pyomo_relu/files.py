"""Files that are complete or absent: write to a temporary file, then replace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pyomo_relu.errors import OutputError


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse an output path early, before any work is done for it.

    Raises
    ------
    OutputError
        The folder does not exist or is not writable, or the path is a folder.
    """
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(
            f"cannot write {str(target)!r}: the folder {str(folder)!r} does not "
            "exist. Create it first, or give another path."
        )
    if target.is_dir():
        raise OutputError(f"cannot write {str(target)!r}: it is a folder.")
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(target)!r}: the folder {str(folder)!r} is not writable."
        )
    return target


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], None]
) -> None:
    """Call `write` on a temporary file beside `path`, then move it into place.

    A reader sees the old file or the whole new one, never a part.

    Raises
    ------
    OutputError
        The file cannot be written; `path` is as it was.
    """
    target = check_writable(path)
    # mkstemp makes private files; a result has the mode of any other new file.
    umask = os.umask(0)
    os.umask(umask)
    try:
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
        )
    except OSError as error:
        raise OutputError(f"cannot write {str(target)!r}: {error}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"cannot write {str(target)!r}: {error}") from error
        raise
