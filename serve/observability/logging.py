"""JSON lines with a request id; secrets never reach them."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from typing import ClassVar

import orjson

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the current task serves; every log line carries it."""

_SECRET = re.compile(r"\b(pm[sl]?-)[A-Za-z0-9_-]{8,}|(://[^:/@\s]+:)[^@/\s]+@")


def redact(text: str) -> str:
    """Blank out keys, session secrets and passwords inside URLs."""
    return _SECRET.sub(lambda m: f"{m[1]}***" if m[1] else f"{m[2]}***@", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, constant message, fields."""

    _STANDARD: ClassVar[frozenset[str]] = frozenset(
        logging.LogRecord("", 0, "", 0, "", (), None).__dict__
    ) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Render; values that are not JSON become their text."""
        line: dict[str, object] = {
            "at": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if rid := request_id.get():
            line["request_id"] = rid
        line.update({k: v for k, v in record.__dict__.items() if k not in self._STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def configure_logging(level: str) -> None:
    """Send our own loggers to stderr as JSON lines. Called once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("serve", "graphs", "deployments"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
