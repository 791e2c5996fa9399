"""Hypothesis profiles: the same examples every time, unless new ones are asked for."""

import os
import signal

from hypothesis import settings

# Interior points meet an instance now and then that they cannot solve to the last
# digit: a person who looks for such instances asks for them.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# A shell starts background jobs with interrupts ignored, and children inherit that: the
# tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
