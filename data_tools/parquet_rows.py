"""The rows of a parquet file (standard input, which must be a file) as JSON lines on standard output.

rankwise-data carries this text and runs it with python3: parquet is not what it exists for. Row batches are small, column
chunks are read through a buffer rather than whole, and what was freed goes back to the system, so that memory does not grow
with the file or its row groups (as pyarrow sets itself up, 60 MB of texts took 84 MB more). What JSON does not have: times become ISO 8601 text, decimals numbers, bytes text
(UTF-8, else base64), maps objects, NaN and infinities null.
"""
import base64
import datetime
import decimal
import json
import math
import os
import sys

NO_PYARROW = 3
ROWS = 256
BUFFER_BYTES = 64 << 10


def plain(value):
    """The value as JSON has it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):  # a map's
            return {str(key): plain(item) for key, item in value}
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return str(value)


def main():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        print(error, file=sys.stderr)
        return NO_PYARROW
    try:
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
        with os.fdopen(os.dup(0), "rb") as source:
            table = pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER_BYTES)
            for batch in table.iter_batches(batch_size=ROWS, use_threads=False):
                for row in batch.to_pylist():
                    sys.stdout.write(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:  # whatever pyarrow has to say: the caller prints it
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


sys.stdout.reconfigure(encoding="utf-8", newline="\n")
sys.exit(main())
