"""aiobotocore clients for the services that send, set up for senders that build and read bodies.

Endpoint, credentials and region are found where every AWS SDK looks (`AWS_ENDPOINT_URL_SESV2`,
task roles, `AWS_REGION`, ...). No call is made here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import aiobotocore
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, NoRegionError

from worker import __version__
from worker.errors import SettingsError

CONNECT_TIMEOUT_SECONDS = 3.0
"""A connection that is not there by then was certainly not used."""

IDLE_CONNECTION_SECONDS = 12
"""AWS hangs up after 20: a request on a connection that is just dying is uncertain."""

USER_AGENT = f"comeback/{__version__} aiobotocore/{aiobotocore.__version__}"
"""Ours, for the SDK puts its own together anew for every call, twice: a tenth of its time."""

Client: TypeAlias = Any
"""An aiobotocore client; the library ships no types."""


@asynccontextmanager
async def open_client(
    service: str, *, calls_in_flight_max: int, call_timeout_seconds: float
) -> AsyncIterator[Client]:
    """A client of botocore's `service` without retries, with a connection for each call that may
    be under way; closed at the end. Raises SettingsError without a region."""
    config = AioConfig(
        # None of the sending operations has an idempotency token: a call the SDK repeats may send
        # twice.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=calls_in_flight_max,
        # Shorter than a call may take, for only a connection that failed by itself is certain.
        connect_timeout=min(CONNECT_TIMEOUT_SECONDS, call_timeout_seconds / 2),
        read_timeout=call_timeout_seconds,
        connector_args={"keepalive_timeout": IDLE_CONNECTION_SECONDS},
        parameter_validation=False,
        user_agent=USER_AGENT,
    )
    # botocore itself knows AWS_DEFAULT_REGION only; ECS and Lambda set AWS_REGION.
    region = os.environ.get("AWS_REGION") or None
    async with AsyncExitStack() as stack:
        try:
            context = get_session().create_client(service, region_name=region, config=config)
            client = await stack.enter_async_context(context)
        except NoRegionError as error:
            raise SettingsError(
                f"No AWS region is set, so the service {service} cannot be found. "
                "Set AWS_REGION to the region you send from, for example eu-west-1."
            ) from error
        except (BotoCoreError, ValueError) as error:
            endpoint = f"AWS_ENDPOINT_URL_{service.replace('-', '_').upper()}"
            raise SettingsError(
                f"The AWS settings for the service {service} cannot be used: {error}. "
                f"Look at AWS_REGION, AWS_PROFILE and {endpoint}."
            ) from error
        yield client


def carry_bodies(client: Client, operation: str) -> None:
    """Makes the client's method for `operation` send the bytes given as `Body` and, when it is
    accepted, answer with the bytes received as `Body`.

    The SDK checks, serializes and parses a call for 100 addresses in some 3 ms; around that, these
    documented events let it do what it is here for: endpoints, credentials, signing, connections.
    An error is still parsed by the SDK.
    """

    def take(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        context["comeback_body"] = params.pop("Body")

    def put(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        params["body"] = context["comeback_body"]
        if "Content-Type" not in params["headers"]:
            params["headers"]["Content-Type"] = "application/json"

    def keep(
        response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
    ) -> None:
        if response_dict["status_code"] < 300:
            customized_response_dict["Body"] = response_dict["body"]
            response_dict["body"] = b"{}"

    events = client.meta.events
    service = client.meta.service_model.service_id.hyphenize()
    events.register(f"before-parameter-build.{service}.{operation}", take)
    events.register(f"before-call.{service}.{operation}", put)
    events.register(f"before-parse.{service}.{operation}", keep)
