"""Does a classifier decide by something else than the object? Suspected marks, and their test by intervention."""

from kerasxai.audit.shortcuts.find import ShortcutReport, find_shortcuts
from kerasxai.audit.shortcuts.settings import ShortcutSettings
from kerasxai.audit.shortcuts.sheets import Sheet

__all__ = ["Sheet", "ShortcutReport", "ShortcutSettings", "find_shortcuts"]
