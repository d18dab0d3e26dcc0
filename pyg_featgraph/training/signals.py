r"""Signals that end a training: it saves its state first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    r"""A signal has ended a training.

    It is none of the exceptions that a training loop takes for an end of its
    own, and :meth:`as_exit` makes it what the process should end with.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    def as_exit(self, message: str) -> BaseException:
        r"""The exception that ends a process as the signal would."""
        if self.signum == signal.SIGINT:
            return KeyboardInterrupt(message)
        return SystemExit(128 + self.signum)


class SignalGuard:
    r"""Takes the signals that end a process. Between :meth:`defer` and the
    end, the first one waits in :attr:`received` until it is looked at.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalGuard:
        # Only the main thread may, and nobody else gets signals:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def defer(self, deferred: bool = True) -> None:
        r"""Lets signals wait, or not any more."""
        self._deferred = deferred
        # A trainer may have set handlers of its own meanwhile:
        for signum in self._before:
            signal.signal(signum, self._handle)

    def raise_received(self) -> None:
        r"""Raises what was received."""
        if self.received is not None:
            raise Stopped(self.received)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # The second one does not wait:
        if not self._deferred or self.received is not None:
            raise Stopped(signum)
        self.received = signum
