"""All axes several times as long."""

from __future__ import annotations

from growc.audit.readings.width import read

__all__ = ["read"]
