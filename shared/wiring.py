"""Which adapter fills which port: the one place where the settings meet the code.

Everything is made at first use and kept for the life of the process: a function that is only indexed imports
nothing heavy, and a warm one makes no client twice.
"""

from __future__ import annotations
