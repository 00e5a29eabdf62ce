"""What schemathesis does not know, and may not do, of a service that other tests use too."""

import schemathesis

# HTTP has headers that nobody declared: proxies add them. Parameters are another matter.
UNKNOWN = "x-schemathesis-unknown-property"

# A stream has up to 1024 partitions, each a task and a file of the log: one stream of that size is a
# test, a hundred of them are an attack on the machine.
MOST_PARTITIONS = 4


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps new streams small. Wrong counts (0, texts, 5000) are sent as they are."""
    body = case.body
    if case.method.upper() == "PUT" and isinstance(body, dict):
        partitions = body.get("partitions")
        if isinstance(partitions, int) and MOST_PARTITIONS < partitions <= 1024:
            body["partitions"] = MOST_PARTITIONS


@schemathesis.hook
def filter_case(context, case):
    """Leaves out requests that are wrong only for a header that is not in the document."""
    return UNKNOWN not in (case.headers or {})


@schemathesis.serializer("application/vnd.apache.arrow.stream", "application/x-ndjson")
def plain(context, value):
    """Text and bytes as they are: that they hold no rows is for the service to find out."""
    return value if isinstance(value, bytes) else str(value).encode()
