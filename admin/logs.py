"""Messages on standard error, by structlog: coloured lines for people, JSON lines for programs.

Messages of libraries that use `logging` come out in the same form. No message holds a secret, a
token or a request's headers.
"""

import logging
import sys
from typing import Any

from dc.config import Log


def configure(log: Log) -> None:
    """Set up structlog and `logging` for this process."""
    # structlog imports rich for pretty tracebacks when it finds it: 10 MB, and never used here.
    absent: Any = None
    sys.modules.setdefault("rich", absent)
    import structlog

    as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[log.level.upper()]
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        processors.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(level, logging.WARNING), force=True)


class _ToStructlog(logging.Handler):
    """Hands records of `logging` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        import structlog

        extra = {"exc_info": record.exc_info} if record.exc_info else {}
        logger = structlog.get_logger()
        logger.log(record.levelno, record.getMessage(), logger=record.name, **extra)
