"""Azurite, Microsoft's own storage emulator: from npm, pinned by the lock file beside this."""

from __future__ import annotations

from local.azurite.server import ACCOUNT, ACCOUNT_KEY, Azurite, connection_string

__all__ = ["ACCOUNT", "ACCOUNT_KEY", "Azurite", "connection_string"]
