"""Sets logging up: JSON or console; nothing is logged, by us or by a library, before it was redacted."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from policies.redaction import PLACEHOLDER, is_secret_name, redact

QUIET: Final = (
    *("botocore", "boto3", "urllib3", "s3transfer", "git", "github", "httpx", "httpcore", "asyncio"),
    *("dbos", "alembic"),
)
MAX_DEPTH: Final = 6


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every text in the event without secrets, exceptions included.

    Stands right before the renderer, after exceptions were turned into text."""
    return {str(key): _without_secrets(key, value, 0) for key, value in event.items()}


def _without_secrets(key: object, value: object, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | bytes) and is_secret_name(str(key)) and value:
        return PLACEHOLDER
    if depth < MAX_DEPTH and isinstance(value, MutableMapping | dict):
        return {str(name): _without_secrets(name, one, depth + 1) for name, one in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(key, one, depth + 1) for one in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return redact(value if isinstance(value, str) else repr(value)).text


class _RedactedRecord(logging.LogRecord):
    """A record of the standard library whose text was redacted when it was made.

    Servers bring handlers of their own (gunicorn's), which no processor of ours stands before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.msg, str):
            try:
                text = self.getMessage()
            except (TypeError, ValueError, KeyError):
                text = f"{self.msg} {self.args!r}"
            self.msg, self.args = redact(text).text, ()
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = redact("".join(traceback.format_exception(*self.exc_info)).rstrip("\n")).text


def configure_logging(json: bool | None = None, level: int | str = logging.INFO) -> None:
    """Log to standard error, as JSON or for the eye (None: for the eye on a terminal). May be called again.

    Uncaught exceptions of the main thread and of others are logged the same way."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.setLogRecordFactory(_RedactedRecord)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(
            max(logging.WARNING, logging.getLevelName(level) if isinstance(level, str) else level)
        )
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("rollback-bot").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
