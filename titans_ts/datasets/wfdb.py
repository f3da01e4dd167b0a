"""PhysioNet's records: a header in words, signals in format 212 and annotations in MIT format, decoded by NumPy.

This reads what the registered record needs and refuses by name whatever else a header may ask for. The `wfdb` package
reads everything, and brings 32 packages.

Sources
-------
https://www.physionet.org/physiotools/wag/header-5.htm, signal-5.htm and annot-5.htm (WFDB Applications Guide).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_GAIN = 200.0  # units of the converter per physical unit where a header gives none, or 0
_INVALID = -2048  # the least number of 12 bits stands for "not measured"
_SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _TEXT = 59, 60, 61, 62, 63
_BY_CODE = ' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'  # from 0 on; a space is no code
SYMBOLS = {code: symbol for code, symbol in enumerate(_BY_CODE) if symbol != " "}
"""How codes of annotations are written (ecgcodes.h): N a normal beat, A and V premature ones, + a statement of rhythm."""


@dataclass(frozen=True)
class Signal:
    """One signal of a record, as its header describes it."""

    name: str
    units: str  # physical ones
    gain: float  # units of the converter in one physical unit
    baseline: int  # what the converter says of 0 physical units
    first: int | None  # first value; None where the header does not say
    checksum: int | None  # sum of all values in 16 bits; None where the header does not say


@dataclass(frozen=True)
class Header:
    """What a header says of a record."""

    rate: float  # rows a second
    n_steps: int
    signals: tuple[Signal, ...]  # the columns, in order


def header_words(content: bytes) -> bytes:
    """Return the lines of a header without comments, which differ between copies, blank lines and carriage returns."""
    lines = (line.strip() for line in content.splitlines())
    return b"".join(line + b"\n" for line in lines if line and not line.startswith(b"#"))


def read_header(content: bytes, *, name: str) -> Header:
    """Read a ``.hea`` file whose signals are all in one file of format 212; ``name`` is what errors call it.

    Several segments, other formats and skewed signals are refused.
    """
    try:
        first, *lines = (line.split() for line in header_words(content).decode("utf-8").splitlines())
        n_signals, rate, n_steps = int(first[1]), float(first[2].partition("/")[0]), int(first[3])
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{name} is no header of a record: its first line must give a name, signals, rate and rows; fetch it again"
        ) from error
    if len(lines) != n_signals or n_signals < 1 or n_steps < 1 or not rate > 0:
        raise ValueError(f"{name} tells of {n_signals} signals of {n_steps} rows and describes {len(lines)}; fetch it again")
    return Header(rate, n_steps, tuple(_signal(words, name) for words in lines))


def _signal(words: list[str], name: str) -> Signal:
    """Read one line of a header: file, format, gain(baseline)/units, bits, zero, first value, checksum, block, name."""
    if len(words) < 2 or words[1] != "212":
        found = words[1] if len(words) > 1 else "unknown"
        raise ValueError(f"{name}: a signal is in format {found}, expected 212, the only one that is read here")
    scale = re.fullmatch(r"([\d.eE+-]+)(?:\((-?\d+)\))?(?:/(\S+))?", words[2] if len(words) > 2 else "0")
    try:
        if scale is None:
            raise ValueError("gain")
        gain, numbers = float(scale[1]), [int(word) for word in words[3:8]]
    except ValueError as error:
        raise ValueError(f"{name}: cannot read the signal {' '.join(words)!r}; fetch it again") from error
    zero, first, checksum = (numbers[place] if place < len(numbers) else None for place in (1, 2, 3))
    baseline = int(scale[2]) if scale[2] else (zero or 0)
    return Signal(" ".join(words[8:]), scale[3] or "mV", gain or DEFAULT_GAIN, baseline, first, checksum)


def read_signals(content: bytes, header: Header, *, name: str) -> NDArray[np.float64]:
    """Return the signals ``(t, c)`` of a ``.dat`` file in physical units, NaN where the converter had no number.

    Format 212 puts two numbers of 12 bits into three bytes, and the signals take turns.
    """
    c = len(header.signals)
    count = header.n_steps * c
    size = (3 * count + 1) // 2
    if len(content) != size:
        raise ValueError(
            f"{name} has {len(content):,} bytes, expected {size:,} for {header.n_steps:,} rows of {c} signals; "
            "fetch it again"
        )
    triples = np.frombuffer(content + bytes(-size % 3), dtype=np.uint8).reshape(-1, 3).astype(np.int16)
    low, middle, high = triples.T
    numbers = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1).reshape(-1)[:count]
    numbers = ((numbers ^ 0x800) - 0x800).reshape(-1, c)  # two's complement of 12 bits
    for column, signal in zip(numbers.T, header.signals, strict=True):
        found = (int(column[0]), _in_16_bits(int(column.sum(dtype=np.int64))))
        expected = (signal.first, None if signal.checksum is None else _in_16_bits(signal.checksum))
        for what, value, said in zip(("first value", "checksum"), found, expected, strict=True):
            if said is not None and said != value:
                raise ValueError(
                    f"{name}: the {what} of {signal.name!r} is {value}, expected {said} by the header; fetch both again"
                )
    baseline = np.array([signal.baseline for signal in header.signals])
    gain = np.array([signal.gain for signal in header.signals])
    physical = (numbers - baseline) / gain
    physical[numbers == _INVALID] = np.nan
    return physical


def _in_16_bits(number: int) -> int:
    """Return a sum as 16 bits with a sign hold it; some headers write it without a sign."""
    return (number + 0x8000) % 0x10000 - 0x8000


def read_annotations(content: bytes, *, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the row ``(n,)`` that each annotation of an ``.atr`` file is about, counted from 0, and its symbol.

    MIT format takes two bytes each: ten bits of steps since the last one and six of a code. Subtypes, numbers, channels
    and texts are skipped.
    """
    words = np.frombuffer(content[: len(content) // 2 * 2], dtype="<u2").tolist()
    rows: list[int] = []
    symbols: list[str] = []
    place = row = 0
    while place < len(words) and words[place]:
        code, interval = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == _SKIP:  # a long interval in two words, the high one first
            high, low = (*words[place : place + 2], 0, 0)[:2]
            row += ((high << 16 | low) ^ 0x80000000) - 0x80000000
            place += 2
        elif code == _TEXT:
            place += (interval + 1) // 2
        elif code in SYMBOLS:
            row += interval
            rows.append(row)
            symbols.append(SYMBOLS[code])
        elif code not in (_NUMBER, _SUBTYPE, _CHANNEL):
            raise ValueError(f"{name}: unknown code {code} at byte {2 * place - 2}, after row {row}; fetch it again")
    if place >= len(words):
        raise ValueError(f"{name} breaks off after row {row}, without its end mark (two bytes of 0); fetch it again")
    if min(np.diff(rows, prepend=0), default=0) < 0:
        raise ValueError(f"{name}: an annotation lies before the one that precedes it; fetch it again")
    return np.array(rows, dtype=np.int64), symbols
