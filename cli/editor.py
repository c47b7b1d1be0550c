"""A text changed by hand, in the editor that the person at the terminal likes."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from cli.outcome import CommandError


def edited(text: str, suffix: str) -> str:
    """Open $VISUAL, or $EDITOR, or vi, on a text; return it as it was saved.

    The file is nobody else's to read, and is gone afterwards. Raises CommandError where the editor failed.
    A line break that the text didn't end with is taken off its end, for many editors add one.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="handfast-") as directory:
        file = Path(directory, f"value{suffix}")
        file.write_bytes(text.encode())
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603 - the user says which
            changed = file.read_bytes().decode()
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise CommandError(f"the editor {editor!r} gave no text: {error}") from error
    return changed if text.endswith("\n") else changed.removesuffix("\n")
