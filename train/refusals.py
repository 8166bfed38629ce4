"""What Lightning says and raises, as our messages and errors."""

import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from nst_rt.errors import InputError
from nst_rt.train.recipes import one_line

logger = logging.getLogger(__name__)

# Its thread ends all processes with SIGKILL if one of those that Lightning started has failed.
_OBSERVER = "lightning.fabric.strategies.launchers.subprocess_script"


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """Turn what Lightning raises because of settings into an InputError; other errors pass."""
    try:
        yield
    except Exception as error:
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        package = str(innermost.f_globals.get("__name__")).partition(".")[0]
        if package not in ("lightning", "jsonargparse"):
            raise
        raise InputError(f"the trainer refuses its settings: {one_line(error)}") from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's remarks and advertisements; what users must know, we say ourselves."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    observer = logging.getLogger(_OBSERVER)
    levels = {each: each.level for each in (*loggers, observer)}
    for each in loggers:
        each.setLevel(logging.WARNING)
    observer.setLevel(logging.INFO)
    observer.addFilter(_end_of_process)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        observer.removeFilter(_end_of_process)
        for each, level in levels.items():
            each.setLevel(level)


def _end_of_process(record: logging.LogRecord) -> bool:
    """Say in our words why this process will be killed; nothing else passes the filter."""
    if ended := re.search(r"terminated with code (-?\d+)", record.getMessage()):
        logger.error(
            "another process of this training ended with code %s, which ends all of them; the "
            "last checkpoint is kept",
            ended[1],
        )
    return False
