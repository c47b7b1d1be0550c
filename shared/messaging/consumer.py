"""The consumer runtime."""

from shared.messaging.listener import Listener, Subject

__all__ = ["Listener", "Subject"]
