"""Where things are, as seen from the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

PROJECT = Path(__file__).resolve().parent.parent
ROOT = PROJECT.parent.parent  # of the repository


def payloads() -> Optional[Path]:
    """The bodies that PayPal really sent; they lie beside the repository, where they lie at
    all.
    """
    folder = ROOT.parent / "shared" / "payloads"
    return folder if folder.is_dir() else None
