"""Hypothesis profiles: the same examples every time, unless new ones are asked for."""

import os

from hypothesis import settings

# Interior points meet an instance now and then that they cannot solve to the last
# digit: a person who looks for such instances asks for them.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
