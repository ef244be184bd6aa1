"""Paths of the repository, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

PROJECT = Path(__file__).resolve().parent.parent
ROOT = PROJECT.parent.parent  # the repository


def payloads() -> Optional[Path]:
    """The folder of messages that PayPal really sent. They are not in the repository, but on
    some machines beside it.
    """
    folder = ROOT.parent / "shared" / "payloads"
    return folder if folder.is_dir() else None
