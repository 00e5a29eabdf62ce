"""Client for Tourbillon: record market ticks, and read them back in one total order."""

from ._batches import Batch, Limits
from ._retry import Retry
from ._times import to_datetime
from .aio import AsyncClient, AsyncResult, AsyncSubscription, AsyncWriter
from .client import Client, Result, Subscription, Writer
from .errors import (
    AnswerBroken,
    ConfigError,
    ConnectionFailed,
    Gone,
    Indeterminate,
    InvalidRequest,
    NotAllowed,
    NotComplete,
    NotFound,
    RowError,
    RowsRefused,
    ServiceError,
    SubscriptionLost,
    TooBusy,
    TooLarge,
    TourbillonError,
    Unavailable,
    UnexpectedAnswer,
)
from .events import Event, Rows, Watermark
from .models import Column, PartitionList, Receipt, StreamInfo, WriterInfo

__version__ = "0.1.0"

__all__ = [
    "AnswerBroken",
    "AsyncClient",
    "AsyncResult",
    "AsyncSubscription",
    "AsyncWriter",
    "Batch",
    "Client",
    "Column",
    "ConfigError",
    "ConnectionFailed",
    "Event",
    "Gone",
    "Indeterminate",
    "InvalidRequest",
    "Limits",
    "NotAllowed",
    "NotComplete",
    "NotFound",
    "PartitionList",
    "Receipt",
    "Result",
    "Retry",
    "RowError",
    "Rows",
    "RowsRefused",
    "ServiceError",
    "StreamInfo",
    "Subscription",
    "SubscriptionLost",
    "TooBusy",
    "TooLarge",
    "TourbillonError",
    "Unavailable",
    "UnexpectedAnswer",
    "Watermark",
    "Writer",
    "WriterInfo",
    "to_datetime",
]
