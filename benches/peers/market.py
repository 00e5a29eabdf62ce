"""Trades as line protocol: symbols of uneven activity, bursts, prices that walk, sizes with a long
tail, at about 50,000 trades a second. The same seed gives the same bytes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

BODY_ROWS = 16_384
OPENS_NS = 1_700_000_000_000_000_000
MEAN_GAP_NS = 20_000

# name, first price in hundredths, tick in hundredths, activity
SYMBOLS = [
    ("BTCUSDT", 6_183_763, 1, 400),
    ("ETHUSDT", 268_380, 1, 250),
    ("SOLUSDT", 15_542, 1, 120),
    ("XRPUSDT", 6_012, 1, 60),
    ("BNBUSDT", 51_830, 10, 50),
    ("DOGEUSDT", 1_043, 1, 40),
    ("ADAUSDT", 3_391, 1, 25),
    ("LTCUSDT", 6_120, 1, 20),
    ("LINKUSDT", 1_046, 1, 15),
    ("DOTUSDT", 455, 1, 10),
    ("UNIUSDT", 598, 1, 6),
    ("AAVEUSDT", 10_020, 2, 4),
]
VENUES = ["XSIM_SPOT"] * 5 + ["XSIM_PERP"] * 4 + ["XSIM_COIN"]
ACTIVITY = list(accumulate(symbol[3] for symbol in SYMBOLS))
BURST_CHANCE = 0.002
BURST_TRADES = (20, 200)
QUIET_TICKS, BURST_TICKS = 1, 6
PRICE_PLACES, SIZE_PLACES = 2, 4
LARGEST_UNIT = 100 * 10**SIZE_PLACES


@dataclass(frozen=True)
class Totals:
    """What tells whether every row is there with its values: sums of the columns."""

    rows: int
    seq: int
    price: float
    size: float

    def is_about(self, other: "Totals") -> bool:
        """Counts and whole numbers must be equal; doubles added in another order may differ."""
        doubles = ((self.price, other.price), (self.size, other.size))
        return (self.rows, self.seq) == (other.rows, other.seq) and all(
            abs(mine - theirs) <= 1e-9 * abs(theirs) for mine, theirs in doubles
        )


@dataclass(frozen=True)
class Feed:
    """Bodies, and what is in them together."""

    bodies: list[bytes]
    totals: Totals

    @property
    def bytes(self) -> int:
        return sum(len(body) for body in self.bodies)


class Market:
    """A market in progress."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._prices = [symbol[1] for symbol in SYMBOLS]
        self._burst = (0, 0)  # symbol and trades left

    def feed(self, table: str, rows: int) -> Feed:
        """The next trades of this market, as rows of a table."""
        bodies: list[bytes] = []
        seq = price = size = 0
        lines: list[str] = []
        for row, (line, cents, units) in enumerate(self._trades(table, rows)):
            seq, price, size = seq + row, price + cents, size + units
            lines.append(line)
            if len(lines) == BODY_ROWS:
                bodies.append("".join(lines).encode())
                lines = []
        if lines:
            bodies.append("".join(lines).encode())
        return Feed(bodies, Totals(rows, seq, price / 10**PRICE_PLACES, size / 10**SIZE_PLACES))

    def _trades(self, table: str, rows: int) -> Iterator[tuple[str, int, int]]:
        """Line, price and size of each; no two have the same time."""
        chance, now = self._random, OPENS_NS
        for row in range(rows):
            now += 1 + int(chance.expovariate(1 / MEAN_GAP_NS))
            symbol = self._symbol()
            cents, units = self._walk(symbol), self._size()
            line = (
                f"{table},venue={chance.choice(VENUES)},symbol={SYMBOLS[symbol][0]} "
                f"price={plain(cents, PRICE_PLACES)},size={plain(units, SIZE_PLACES)},"
                f'side="{chance.choice(("buy", "sell"))}",seq={row}i {now}\n'
            )
            yield line, cents, units

    def _symbol(self) -> int:
        """Now and then one symbol trades alone for a while."""
        symbol, left = self._burst
        if left > 0:
            self._burst = (symbol, left - 1)
            return symbol
        symbol = self._random.choices(range(len(SYMBOLS)), cum_weights=ACTIVITY)[0]
        begins = self._random.random() < BURST_CHANCE
        self._burst = (symbol, self._random.randint(*BURST_TRADES) if begins else 0)
        return symbol

    def _walk(self, symbol: int) -> int:
        _, first, tick, _ = SYMBOLS[symbol]
        most = BURST_TICKS if self._burst[1] else QUIET_TICKS
        moved = self._prices[symbol] + self._random.randint(-most, most) * tick
        # within a factor of ten, however long the market is open
        self._prices[symbol] = min(max(moved, first // 10 + tick), first * 10)
        return self._prices[symbol]

    def _size(self) -> int:
        """Small ones are common, each tenfold is a sixth as common."""
        unit = 1
        while unit < LARGEST_UNIT and self._random.random() < 1 / 6:
            unit *= 10
        return self._random.randrange(1, 100) * unit


def plain(value: int, places: int) -> str:
    """A scaled whole number as a decimal without needless zeros."""
    whole, part = divmod(value, 10**places)
    digits = f"{part:0{places}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
