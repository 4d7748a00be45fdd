"""Ways to spoil an input, by the grammar it has or byte by byte. Everything is drawn from one seed.

JSON is changed as a tree (a value of another type, a key gone, moved or doubled) and, once written,
as text (a token that no writer makes, such as `1e999` or half a character). Lines of YAML are lost,
moved, doubled, indented anew and filled with signs that mean something there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final

SPOILT_VALUES: Final[Sequence[Any]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(10**30),
    1e308,
    5e-324,
    1_767_225_600_000,
    1_767_225_600,
    4_102_444_799_999,
    "",
    " ",
    "0",
    "\x00",
    "a\x00b",
    "null",
    "NaN",
    "+15550100042",
    "0049 (0) 30 1",
    "+",
    "@",
    "a@b",
    "A@EXAMPLE.COM ",
    "Europe/Berlin",
    "Etc/Nowhere",
    "../../etc/passwd",
    "KOR",
    "XK",
    "zz",
    "zh_Hant_TW",
    "ACTIVE",
    "INACTIVE",
    "ALL",
    "GCM",
    "APNS_VOIP_SANDBOX",
    "EMAIL",
    "SMS",
    "CUSTOM",
    "IN_APP",
    "2026-01-01T00:00:00.000Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "１２３",
    "\u202e\ufeff\u0085\u2028",
    "😀" * 40,
    "x" * 4_096,
    "x" * 4_097,
    "9" * 5_000,
    "{}",
    "[]",
    '{"a":',
    '{"send_id": "00c0ffee00c0ffee"}',
    '{"ChannelType": "SMS", "Address": "+15550100042"}',
    [],
    {},
    [[]],
    [None],
    [{}],
    ["a", 1, None, True, {}],
    {"": ""},
    {"a": {"b": {"c": ["d"]}}},
    {"event_type": "_session.start"},
)
TOKENS: Final[Sequence[bytes]] = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"1E-999",
    b"-0",
    b"-0.0",
    b"01",
    b"0x10",
    b"1.",
    b".5",
    b"+1",
    b"9" * 400,
    b"9" * 5_000,
    b'"\\ud83d"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\\x41"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"\x01"',
    b"'a'",
    b"True",
    b"nul",
    b"[" * 3_000,
    b'{"a":' * 3_000,
    b"{}{}",
    b"/**/",
    b",",
    b"}",
    b"\n{",
    b"\x1e",
    b"\xef\xbb\xbf",
)
"""What stands in text where a value should, and no writer of JSON would put there."""

YAML_SIGNS: Final[Sequence[bytes]] = (
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"*x",
    b"&x ",
    b"*m",
    b"!!str ",
    b"!!python/object/apply:os.system ",
    b"- ",
    b"? ",
    b": ",
    b"|\n",
    b">-\n",
    b"\t",
    b'"',
    b"'",
    b"[",
    b"{",
    b"]",
    b"}",
    b"<<: ",
    b"<<: *x",
    b'"\\U',
    b'"\\UFFFFFFFF"',
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n",
    b"~",
    b"0",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"\xff",
    b"\x00",
    b"\x85",
    b"\xef\xbb\xbf",
    b"\n  ",
    b"\r",
    b"# ",
    b"[" * 400,
    b"{a: " * 400,
    b"x" * 300,
    b"\xf0\x9f\x98\x80",
)
_TOKEN_ENDS: Final = b",:]}"


def spoil_tree(chance: Random, value: Any) -> Any:
    """The same JSON value with one thing in it changed; may change `value` itself."""
    spots: list[tuple[Any, Any]] = []
    _gather(value, spots)
    if not spots:
        return deepcopy(chance.choice(SPOILT_VALUES))
    holder, key = chance.choice(spots)
    match chance.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[_spoil_name(chance, key)] = holder.pop(key)
        case 2:
            other, other_key = chance.choice(spots)
            # A copy, for a tree that held itself would have no end.
            other[other_key] = deepcopy(holder[key])
        case 3:
            holder[key] = json.dumps(holder[key], ensure_ascii=chance.random() < 0.5)
        case 4:
            holder[key] = [deepcopy(holder[key]) for _ in range(chance.choice((1, 2, 30)))]
        case 5:
            holder[key] = {chance.choice(("", "a", "event_type", "custom")): holder[key]}
        case _:
            holder[key] = deepcopy(chance.choice(SPOILT_VALUES))
    return value


def _gather(value: Any, spots: list[tuple[Any, Any]]) -> None:
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        spots.append((value, key))
        _gather(value[key], spots)


def _spoil_name(chance: Random, name: str) -> str:
    spoilt = (name.upper(), name.lower(), name[:-1], name + "s", "", "\x00", name.title())
    return chance.choice(spoilt)


def spoil_tokens(chance: Random, text: bytes) -> bytes:
    """JSON text in which the value after some colon or comma is another token."""
    starts = [at + 1 for at, byte in enumerate(text) if byte in b":,["]
    if not starts:
        return chance.choice(TOKENS) + text
    start = chance.choice(starts)
    end = start
    while end < len(text) and text[end] not in _TOKEN_ENDS:
        end += 1
    return text[:start] + chance.choice(TOKENS) + text[end:]


def spoil_bytes(chance: Random, data: bytes, other: bytes = b"") -> bytes:
    """Bytes changed, lost, doubled, or cut together with those of another input."""
    at = chance.randrange(len(data) + 1)
    length = chance.choice((1, 1, 1, 2, 4, 16, 64))
    match chance.randrange(8):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + chance.randbytes(length) + data[at:]
        case 2:
            return data[:at] + data[at + length :]
        case 3:
            return data[:at]
        case 4:
            return data[:at] + data[max(0, at - length) :]
        case 5:
            cut = chance.randrange(len(other) + 1)
            return data[:at] + other[cut:]
        case 6:
            return data[:at] + chance.choice(TOKENS) + data[at:]
        case _:
            byte = data[at] if at < len(data) else 0
            return data[:at] + bytes([byte ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def spoil_lines(chance: Random, text: bytes, words: Sequence[bytes]) -> bytes:
    """YAML with a line lost, doubled, moved, indented anew, or filled with something else.

    `words`: pieces of files of the same kind, to be put where they do not belong.
    """
    lines = text.splitlines(keepends=True) or [b"\n"]
    at = chance.randrange(len(lines))
    line = lines[at]
    key, colon, _ = line.partition(b":")
    match chance.randrange(9):
        case 0:
            del lines[at]
        case 1:
            lines.insert(chance.randrange(len(lines) + 1), line)
        case 2:
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        case 3:
            lines[at] = b" " * chance.choice((1, 2, 4)) + line
        case 4:
            lines[at] = line.removeprefix(b"  ")
        case 5:
            value = chance.choice((*YAML_SIGNS, *words, chance.randbytes(4)))
            lines[at] = key + colon + b" " + value + b"\n"
        case 6:
            cut = chance.randrange(len(line) + 1)
            sign = chance.choice((*YAML_SIGNS, *words))
            lines[at] = line[:cut] + sign + line[cut + chance.randrange(8) :]
        case 7:
            lines[at] = chance.choice(words) + b"\n" if words else b""
        case _:
            return spoil_bytes(chance, text, text)
    return b"".join(lines)
