"""Values of tables (Parquet, Arrow) as what JSON can hold.

Covered: dates and times as ISO 8601 text, decimals, bytes (UTF-8 as text, others as a base64 data
URI), maps, numbers that are not finite (null, as in tables they mean a missing value). Not covered:
pictures and sounds, which `datasets` would decode; of them only a note of the type is left.
"""

from __future__ import annotations

import base64
import datetime
import math
from decimal import Decimal
from typing import Any

__all__ = ["plain_record", "plain_value"]


def plain_record(record: dict[str, Any]) -> dict[str, Any]:
    """Make every value of a row one that JSON has."""
    return {str(name): plain_value(value) for name, value in record.items()}


def plain_value(value: Any) -> Any:
    """Return a value as text, number, boolean, None, list or object of such."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return plain_record(value)
    if isinstance(value, list | tuple | set):
        return _plain_list(list(value))
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return _plain_decimal(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _plain_bytes(bytes(value))
    if hasattr(value, "tolist"):  # numpy
        return plain_value(value.tolist())
    return f"<{type(value).__name__}>"


def _plain_list(values: list[Any]) -> Any:
    """Make a list plain; pairs with text keys, each once, are a map."""
    pairs = [each for each in values if isinstance(each, tuple) and len(each) == 2]
    keys = {key for key, _ in pairs if isinstance(key, str)}
    if values and len(keys) == len(values):
        return {key: plain_value(value) for key, value in pairs}
    return [plain_value(each) for each in values]


def _plain_decimal(value: Decimal) -> int | float | str | None:
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _plain_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "data:application/octet-stream;base64," + base64.b64encode(value).decode()
