"""Programs that are run: their output, limits, interrupts and files."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers import executable
from pyomo_relu.solvers.executable import banner_version, run, working_directory

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"
)

#: Starts a child that would write a file, says so, and waits with it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""
CHILD = "import time; time.sleep(600)"


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-c", *arguments]


def is_gone(pid: int) -> bool:
    """Whether a process that has been killed is no more, or a zombie, before long."""
    for _ in range(400):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_output_code_directory_and_environment(tmp_path):
    stream = io.StringIO()
    program = (
        "import os, sys; print(os.getcwd()); print(os.environ['ROOM']); "
        "print('bad', file=sys.stderr); sys.exit(3)"
    )
    ended = run(
        python(program), tmp_path, streams=[stream], environment={"ROOM": "seven"}
    )
    assert ended.code == 3
    assert not ended.timed_out
    assert sorted(ended.log.split()) == sorted([str(tmp_path), "seven", "bad"])
    assert stream.getvalue() == ended.log
    assert ended.seconds > 0.0


def test_lines_are_passed_on_while_the_program_runs(tmp_path):
    class Answering(io.StringIO):
        def write(self, text):
            (tmp_path / "seen").touch()
            return super().write(text)

    program = (
        "import os, time; print('first', flush=True)\n"
        "while not os.path.exists('seen'): time.sleep(0.01)\n"
        "print('second')"
    )
    ended = run(python(program), tmp_path, streams=[Answering()], time_limit=60)
    assert not ended.timed_out
    assert ended.log == "first\nsecond\n"


def test_a_time_limit_stops_children_as_well(tmp_path):
    ended = run(python(PARENT, CHILD), tmp_path, time_limit=1.0)
    assert ended.timed_out
    assert ended.code == -signal.SIGKILL
    for pid in ended.log.split():
        assert is_gone(int(pid))


def test_a_program_for_which_no_time_is_left_is_not_started(tmp_path):
    ended = run(python("open('a', 'w')"), tmp_path, time_limit=0.0)
    assert ended.timed_out
    assert not (tmp_path / "a").exists()


def test_ctrl_c_during_the_start_leaves_no_program(tmp_path, monkeypatch):
    started = []

    def start(*arguments):
        started.append(executable_start(*arguments))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    executable_start = executable._start
    monkeypatch.setattr(executable, "_start", start)
    with pytest.raises(KeyboardInterrupt):
        run(python(CHILD), tmp_path)
    assert started[0].poll() == -signal.SIGKILL


def test_a_program_that_ends_in_time_has_not_timed_out(tmp_path):
    ended = run(python("print(1)"), tmp_path, time_limit=60.0)
    assert (ended.code, ended.log, ended.timed_out) == (0, "1\n", False)


def test_ctrl_c_stops_the_program_and_its_children(tmp_path):
    lines: list[str] = []

    class Interrupting(io.StringIO):
        def write(self, text):
            lines.append(text)
            # From another thread, as the terminal would.
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            return len(text)

    with pytest.raises(KeyboardInterrupt):
        run(python(PARENT, CHILD), tmp_path, streams=[Interrupting()], time_limit=60)
    assert is_gone(int(lines[0]))


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(SolverError, match="cannot run 'no-such-program'"):
        run(["no-such-program"], tmp_path)


def test_files_are_kept_where_that_is_asked_for(tmp_path):
    with working_directory(None, "x") as folder:
        (folder / "a").touch()
    assert not folder.exists()
    kept = []
    for _ in range(2):
        with working_directory(tmp_path, "x") as folder:
            (folder / "a").touch()
        kept.append(folder / "a")
    assert all(path.exists() for path in kept)
    assert kept[0] != kept[1]
    with (
        pytest.raises(InputError, match="working_dir="),
        working_directory(tmp_path / "nowhere", "x"),
    ):
        pass


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("echo 'SOLVER 6.2.0'; exit 200", (6, 2, 0)),
        ("echo 'SOLVER (Version 7.3.16) start at [2020]' >&2", (7, 3, 16)),
        ("echo 'nothing of the kind 1.2.3'", ()),
        ("exit 1", ()),
    ],
)
def test_the_version_is_what_the_banner_says(tmp_path, text, version):
    program = script(tmp_path / "solver", text)
    assert banner_version(program, "SOLVER") == version


def test_the_version_is_asked_once_for_each_file(tmp_path):
    count = tmp_path / "count"
    path = tmp_path / "solver"
    script(path, f"echo once >> {count}; echo SOLVER 1.0")
    assert banner_version(str(path), "SOLVER") == (1, 0)
    assert banner_version(str(path), "SOLVER") == (1, 0)
    assert count.read_text() == "once\n"
    script(path, "echo SOLVER 2.0")
    os.utime(path, (1, 1))
    assert banner_version(str(path), "SOLVER") == (2, 0)
    assert banner_version(str(tmp_path / "nowhere"), "SOLVER") == ()
