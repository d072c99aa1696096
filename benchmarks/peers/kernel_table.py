"""Of kernels.py: what two kernels took at one shape, their ratio, its text and its floors. Nothing here runs a program, so all of it is tested."""
import dataclasses
import statistics

from samplers import Pair
from table import NEAR, Cell, number

LIMITS = ("memory, 4 streams", "int8", "8-bit codes", "f32")     # of those that the program `limits` measures
KEYS = {"isa", "peer", "op", "ours", "case", "shape", "threads", "at_least"}


@dataclasses.dataclass
class Row:
    peer: str
    pair: Pair
    n: int
    k: int
    m: int
    threads: int
    ours_bytes: int = 0         # state of the weights, scales included
    peer_bytes: int = 0
    ours_path: str = ""         # instruction set
    peer_path: str = ""         # what the peer says ran: a buffer type, a core
    rounds: list[tuple[float, float, bool]] = dataclasses.field(default_factory=list)      # seconds of ours, of the peer's, both undisturbed
    limit: float | None = None  # the machine's limit that ours stands under, GB/s or GOP/s, of the same run
    dropped: int = 0            # samples taken again because they were disturbed
    reason: str = ""            # why there is no figure

    @property
    def used(self) -> list[tuple[float, float, bool]]:
        """The clean rounds, or where there is none all of them."""
        return [r for r in self.rounds if r[2]] or self.rounds

    @property
    def is_clean(self) -> bool:
        return any(clean for _, _, clean in self.rounds)

    @property
    def ratios(self) -> list[float]:
        """By round, time of the peer's over time of ours: the weights are as many, so this is time per weight."""
        return [peer / ours for ours, peer, _ in self.used]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def seconds(self, side: int) -> Cell:
        return Cell([r[side] for r in self.used])

    def bits(self, weight_bytes: int) -> float:
        return 8 * weight_bytes / (self.n * self.k)

    @property
    def equal_bits(self) -> bool:
        return abs(self.ours_bytes / self.peer_bytes - 1) <= NEAR

    @property
    def shape(self) -> str:
        return f"{self.n}x{self.k}"

    def rate(self, side: int) -> float:
        """GB/s of the weights' state in decode, GOP/s (a multiply-add is two) in prefill."""
        work = (self.ours_bytes, self.peer_bytes)[side] if self.pair.op == "decode" else 2 * self.n * self.k * self.m
        return work * 1e-9 / self.seconds(side).median


def limit_of(row: Row, limits: list[dict]) -> float | None:
    """As `limits --json` measured it for the instruction set of ours."""
    kind = row.pair.ours.split()[0]
    memory, int8, wide, f32 = LIMITS
    peak = f32 if kind in ("f16", "f32", "bf16", "exact") else wide if kind in ("W5", "W6", "W7", "W8", "nf4", "fp4") else int8
    what = memory if row.pair.op == "decode" else peak
    return next((r["median"] for r in limits if r["isa"] == row.ours_path and r["threads"] == row.threads and r["what"] == what), None)


def limit_lines(limits: list[dict]) -> list[str]:
    """A line for each instruction set and number of threads; a range where several runs measured it."""
    found: dict[tuple, dict[str, list[dict]]] = {}
    for row in limits:
        if row["what"] in LIMITS:
            found.setdefault((row["isa"], row["threads"]), {}).setdefault(row["what"], []).append(row)
    out = []
    for (isa, threads), by_what in sorted(found.items()):
        texts = []
        for what, rows in by_what.items():
            low, high = (number(f(r["median"] for r in rows)) for f in (min, max))
            texts.append(f"{'memory read (4 streams)' if what == LIMITS[0] else what} {low if low == high else f'{low} to {high}'} {rows[0]['unit']}")
        out.append(f"limits, {isa}, {threads} thread{'s' if threads > 1 else ''}: {', '.join(texts)}")
    return out


def lines(rows: list[Row]) -> list[list[str]]:
    """One line for each pair and shape, three columns (four with limits) for each number of threads."""
    measured = [row for row in rows if row.rounds]
    threads = sorted({row.threads for row in measured})
    share = any(row.limit for row in measured)
    head = ["ours", "peer", "N x K", "bits/w"]
    for t in threads:
        head += [f"{t} thr.: ours", "peer's", *(["of limit"] if share else []), "ours x"]
    head += ["target"]
    found: dict[tuple, dict[int, Row]] = {}
    for row in sorted(measured, key=lambda r: (r.pair.op, r.n * r.k)):
        found.setdefault((row.pair, row.peer, row.shape), {})[row.threads] = row
    body = []
    for (pair, peer, _), by_threads in found.items():
        row = next(iter(by_threads.values()))
        line = [f"{pair.op} {pair.ours}", f"{peer} {pair.case} ({row.peer_path})", f"{row.n} x {row.k}" + (f", M = {row.m}" if row.m > 1 else ""),
                f"{row.bits(row.ours_bytes):.3g}, {row.bits(row.peer_bytes):.3g}"]
        for t in threads:
            line += figures(by_threads[t], share) if t in by_threads else ["-"] * (4 if share else 3)
        body.append(line + [f"{pair.target:g}" if pair.target else "-"])
    return [head, *body]


def figures(row: Row, share: bool) -> list[str]:
    unit = "GB/s" if row.pair.op == "decode" else "GOP/s"
    mark = ("" if row.equal_bits else "~") + ("" if row.is_clean else "!")
    return [f"{number(row.rate(0))} {unit}", number(row.rate(1)), *([f"{row.rate(0) / row.limit:.2f}" if row.limit else "-"] if share else []),
            f"{row.ratio:.2f}{mark} ({min(row.ratios):.2f}-{max(row.ratios):.2f})"]


def notes(rows: list[Row]) -> list[str]:
    found, measured = [], [r for r in rows if r.rounds]
    missed = [r for r in measured if r.pair.target and r.ratio < r.pair.target]
    if missed:
        found.append("below target: " + "; ".join(f"{r.pair.op} {r.pair.ours} to {r.peer} {r.pair.case} {r.shape}, {r.threads} threads: {r.ratio:.2f} of {r.pair.target:g}"
                                                  for r in missed))
    if any(not r.equal_bits for r in measured):
        found.append(f"~ the bits per weight differ by more than {NEAR:.0%}")
    if not all(r.is_clean for r in measured):
        found.append("! something else ran during every round, after every retry")
    dropped = sum(r.dropped for r in rows)
    if dropped:
        found.append(f"{dropped} samples were dropped and taken again because something else ran")
    return found + [f"{r.pair.op} {r.pair.ours}, {r.peer} {r.pair.case} {r.shape}, {r.threads} threads: {r.reason}" for r in rows if r.reason]


def check_floors(floors: list[dict], rows: list[Row]) -> list[str]:
    """One line for every floor that a measured ratio lies below. What was not measured, or never undisturbed, says nothing.

    {"isa": "avx2", "peer": "ggml", "op": "decode", "ours": "W4 g32", "case": "Q4_0", "shape": "4096x11008", "threads": 2, "at_least": 1.8}
    "isa" is the instruction set that ours ran on: a floor holds for that kind of machine only. A missing "shape" or "threads" means all.
    """
    broken = []
    for floor in floors:
        unknown = set(floor) - KEYS
        missing = KEYS - {"shape", "threads"} - set(floor)
        if unknown or missing:
            raise ValueError(f"floor {floor}: " + (f"unknown {', '.join(sorted(unknown))}" if unknown else f"needs {', '.join(sorted(missing))}"))
        for row in rows:
            mine = {"isa": row.ours_path, "peer": row.peer, "op": row.pair.op, "ours": row.pair.ours, "case": row.pair.case, "shape": row.shape, "threads": row.threads}
            if any(mine[key] != value for key, value in floor.items() if key != "at_least") or not row.is_clean:
                continue
            if row.ratio < floor["at_least"]:
                broken.append(f"{row.pair.op} {row.pair.ours} to {row.peer} {row.pair.case}, {row.shape}, {row.threads} threads: "
                              f"{row.ratio:.3f} is below its floor {floor['at_least']}")
    return broken


def as_json(rows: list[Row]) -> list[dict]:
    found = []
    for row in rows:
        one = {k: v for k, v in dataclasses.asdict(row).items() if k not in ("pair", "rounds")} | dataclasses.asdict(row.pair)
        if row.rounds:
            one |= {"ratio": row.ratio, "ratios": row.ratios, "ours_rate": row.rate(0), "peer_rate": row.rate(1), "equal_bits": row.equal_bits, "clean": row.is_clean,
                    "rounds": [{"ours_s": a, "peer_s": b, "clean": c} for a, b, c in row.rounds]}
        found.append(one)
    return found


def from_json(rows: list[dict]) -> list[Row]:
    fields = {f.name for f in dataclasses.fields(Row)} - {"pair", "rounds"}
    return [Row(pair=Pair(row["op"], row["ours"], row["case"], row["target"]), rounds=[(r["ours_s"], r["peer_s"], r["clean"]) for r in row.get("rounds", [])],
                **{k: row[k] for k in fields if k in row}) for row in rows]
