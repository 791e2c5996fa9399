"""The same examples every time, unless new ones are asked for; the command line."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import settings

from pyomo_relu.__main__ import main

# Interior points meet an instance now and then that they cannot solve to the last
# digit: a person who looks for such instances asks for them.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# A shell starts background jobs with interrupts ignored, and children inherit that: the
# tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process, which saves the imports."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyomo-relu", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code or 0
        output = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, *output)

    return call
