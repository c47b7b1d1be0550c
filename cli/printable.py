"""Text from elsewhere, made safe to show."""


def printable(text: str) -> str:
    """Make a text harmless to a terminal: what isn't printable is shown as an escape."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
