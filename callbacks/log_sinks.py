"""The sinks of a callback or a training; a sink that fails warns once, is left out, and never ends the training."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kerasxai.callbacks.warn_once import WarnOnce
from kerasxai.tools.log_services import check_service
from kerasxai.viz.log_sinks import LogSink, Value, open_sink


class LogSinks:
    """Several sinks as one.

    Args:
        who: The callback or command, for warnings.
        given: Names, which are opened and closed here, and open sinks, which are only used.
        folder: The folder for TensorBoard.

    Raises:
        KerasxaiError: A name is unknown, or its package is not installed.
    """

    identity: str | None = None

    def __init__(self, who: str, given: Iterable[str | LogSink] = (), folder: Path = Path("logs")) -> None:
        self._given = (given,) if isinstance(given, str) else tuple(given)
        for one in self._given:
            if isinstance(one, str):
                check_service(one)
        self._guard = WarnOnce(who)
        self._folder = folder
        self._open: dict[str, LogSink] = {}
        self._own: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The sinks that are open."""
        return list(self._open)

    def begin(self, title: str = "", identities: Mapping[str, str] | None = None) -> None:
        """Open the sinks that were given by name.

        Args:
            title: The name of new runs.
            identities: The runs to continue, by the name of the sink.
        """
        for number, one in enumerate(self._given):
            name = one if isinstance(one, str) else f"{type(one).__name__} {number}"
            with self._guard.block(f"log to {name}", "training continues without it"):
                if isinstance(one, str):
                    self._own.add(name)
                    self._open[name] = open_sink(one, self._folder, title, (identities or {}).get(name))
                else:
                    self._open[name] = one

    def identities(self) -> dict[str, str]:
        """Return the runs of the services, by the name of the sink."""
        return {name: sink.identity for name, sink in self._open.items() if sink.identity is not None}

    def settings(self, values: Mapping[str, Value]) -> None:
        """Write the settings of the training."""
        self._each(lambda sink: sink.settings(values))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures after an epoch."""
        self._each(lambda sink: sink.scalars(values, step))

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture after an epoch."""
        self._each(lambda sink: sink.picture(name, png, step))

    def close(self, finished: bool = True) -> None:
        """Close the sinks that were opened here."""
        self._each(lambda sink: sink.close(finished), only=self._own)
        self._open, self._own = {}, set()

    def _each(self, write: Callable[[LogSink], None], only: Iterable[str] | None = None) -> None:
        for name, sink in list(self._open.items()):
            if only is not None and name not in only:
                continue
            done = False
            with self._guard.block(f"log to {name}", "training continues without it"):
                write(sink)
                done = True
            if not done:
                # A service that does not answer may take minutes each time.
                del self._open[name]
