"""How the simulated Kinesis says no: one exception per AWS error code, named as AWS names it.

Pure values. Raised by `shard`, `stream`, `kinesis_request` and `kinesis_api`; turned into an
HTTP 400 answer by `kinesis`.

Source of the names: the error shapes of the service model `kinesis/2013-12-02`.
"""

from __future__ import annotations


class KinesisRefusal(Exception):
    """Root of all refusals. `str(refusal)` is the message of the answer."""

    @property
    def code(self) -> str:
        """The AWS error code: the name of the class."""
        return type(self).__name__


class ResourceNotFoundException(KinesisRefusal):
    """The stream or the shard does not exist (any more)."""


class ResourceInUseException(KinesisRefusal):
    """The stream exists already, or is not in a state in which this can be done."""


class InvalidArgumentException(KinesisRefusal):
    """A parameter has the right form and makes no sense."""


class ValidationException(KinesisRefusal):
    """The request does not have the form that the service model demands."""


class SerializationException(KinesisRefusal):
    """The body is not a JSON object."""


class UnknownOperationException(KinesisRefusal):
    """There is no such operation here."""


class ExpiredIteratorException(KinesisRefusal):
    """The shard iterator is older than five minutes."""


class ExpiredNextTokenException(KinesisRefusal):
    """The page token is older than five minutes."""


class ProvisionedThroughputExceededException(KinesisRefusal):
    """A shard was read too often or too fast."""


class LimitExceededException(KinesisRefusal):
    """More shards than allowed."""
