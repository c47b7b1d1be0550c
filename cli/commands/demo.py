"""`handfast demo`: a stack of its own, and the stories, told as they happen."""

import time

from cli.api import Api
from cli.console import Console
from cli.outcome import CommandError
from cli.stack import own_stack
from cli.stories import STORIES
from cli.story import Story

ENVIRONMENT = {
    # Four deliveries as ever, only faster than the second apart that is the default.
    "HANDFAST_RETRY": "fixed:200ms,3",
    "HANDFAST_LOG_LEVEL": "WARNING",
}


def demo() -> None:
    """Start a stack of its own, and tell five stories: exit code 0 only if each ends as it must."""
    console = Console()
    began = time.monotonic()
    console.line("Starting a coordinator, three services and a Kafka broker of our own", "bold")
    endings: list[tuple[str, str]] = []
    with own_stack(environment=ENVIRONMENT, say=lambda line: console.line(f"  {line}")) as stack:
        with Api(stack.settings) as api:
            for number, tell in enumerate(STORIES, start=1):
                title = (tell.__doc__ or "").strip()
                console.line()
                console.line(f"{number}. {title}", "bold cyan")
                try:
                    tell(Story(api, console), api)
                except CommandError as failure:
                    endings.append((title, f"went wrong: {failure}"))
                else:
                    endings.append((title, "as it must"))
        console.line()
    wrong = [title for title, ending in endings if ending != "as it must"]
    for number, (title, ending) in enumerate(endings, start=1):
        console.line(f"{number}. {title} {ending}", "red" if ending != "as it must" else "green")
    console.line(
        f"{len(endings) - len(wrong)} of {len(STORIES)} stories ended as they must ({_since(began)})"
    )
    if wrong:
        raise CommandError(f"{len(wrong)} of {len(STORIES)} stories went wrong")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"
