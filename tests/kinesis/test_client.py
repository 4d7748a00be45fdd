"""How the client is made."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.kinesis.client import CONNECTIONS_MAX, kinesis_client
from worker.kinesis.faults import fault_of


async def test_the_client_makes_each_call_once_and_has_connections_for_every_shard() -> None:
    async with kinesis_client() as client:
        assert client.meta.config.retries["total_max_attempts"] == 1
        assert client.meta.config.max_pool_connections == CONNECTIONS_MAX


async def test_the_region_of_the_container_comes_before_that_of_botocore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    async with kinesis_client() as client:
        assert client.meta.region_name == "ap-south-1"

    monkeypatch.delenv("AWS_REGION")
    async with kinesis_client() as client:
        assert client.meta.region_name == "eu-north-1"


async def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(SettingsError, match="AWS_REGION"):
        async with kinesis_client():
            pass


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_ENDPOINT_URL_KINESIS", "nonsense"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_REGION", "bad region"),
    ],
)
async def test_settings_of_aws_that_cannot_be_used_are_for_a_person_to_mend(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        async with kinesis_client():
            pass


def test_credentials_that_could_not_be_refreshed_are_no_bug_of_ours() -> None:
    stale = RuntimeError("Credentials were refreshed, but the refreshed credentials are expired")
    assert fault_of(stale, "GetRecords").code == "NoCredentials"
    with pytest.raises(RuntimeError):
        fault_of(RuntimeError("something else"), "GetRecords")
