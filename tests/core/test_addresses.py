"""One spelling per address, and countries in two letters."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.addresses import normalise_address
from worker.countries import _ALPHA_2_OF, alpha_2


@pytest.mark.parametrize(
    ("channel_type", "address", "kept_as"),
    [
        ("EMAIL", "  Kim@Example.COM ", "kim@example.com"),
        ("EMAIL", "Kim Lee <Kim@Example.com>", "kim@example.com"),
        ("SMS", "+1 (555) 010-0042", "+15550100042"),
        ("SMS", "12065550182", "12065550182"),
        ("VOICE", "(202) 555-0191", "2025550191"),
        ("SMS", "010-1234-5678", "01012345678"),
        ("SMS", "73822", "73822"),
        ("SMS", "SHOP", "SHOP"),
        ("GCM", " Tok3n:aBc ", "Tok3n:aBc"),
        ("CUSTOM", "https://Example.com/Hook", "https://Example.com/Hook"),
        (None, " whatever ", "whatever"),
        ("EMAIL", "   ", ""),
    ],
)
def test_an_address_has_one_spelling(channel_type: str, address: str, kept_as: str) -> None:
    assert normalise_address(channel_type, address) == kept_as


@pytest.mark.parametrize(
    ("address", "country", "kept_as"),
    [
        ("12065550182", "US", "+12065550182"),
        ("(202) 555-0191", "US", "+12025550191"),
        ("010-1234-5678", "KR", "+821012345678"),
        ("+44 20 7946 0018", "US", "+442079460018"),
        ("73822", "US", "73822"),
        ("2065550182", "Korea", "2065550182"),
    ],
)
def test_a_number_without_plus_is_read_as_its_country_reads_it(
    address: str, country: str, kept_as: str
) -> None:
    assert normalise_address("SMS", address, country) == kept_as
    assert normalise_address("SMS", kept_as, country) == kept_as


@given(
    st.sampled_from(["EMAIL", "SMS", "VOICE", "GCM", None]), st.text("aB1<>@+ ().-0é٣", max_size=20)
)
def test_normalising_twice_changes_nothing(channel_type: str | None, address: str) -> None:
    once = normalise_address(channel_type, address)
    assert normalise_address(channel_type, once) == once


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("KOR", "KR"),
        ("usa", "US"),
        ("GBR", "GB"),
        (" de ", "DE"),
        ("JP", "JP"),
        ("Korea", "Korea"),
        ("ZZZ", "ZZZ"),
        ("", ""),
    ],
)
def test_countries_come_out_in_two_letters_when_known(said: str, code: str) -> None:
    assert alpha_2(said) == code


def test_the_country_table_covers_exactly_the_countries_of_the_zone_database() -> None:
    table = files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text(encoding="utf-8")
    known = {line[:2] for line in table.splitlines() if line and not line.startswith("#")}
    assert set(_ALPHA_2_OF.values()) == known
    assert len(_ALPHA_2_OF) == len(known)
