#!/usr/bin/env python3
"""Works a run out again from its report bundle, and says where it disagrees with run.json.

    tests/recompute.py REPORT...

From `events.jsonl` and `requests.jsonl.zst` (with `requests: all`) it recomputes every choice of a fault or a sample,
every count, quantile, interval, p-value, check, point and the score, and holds `latency.hlog` against the same. It is
written from the contract, with the standard library only, and shares no code with the Rust side. Exit 1: something
disagrees, each named; 2: the bundle cannot be recomputed, and why.
"""

import base64
import bisect
import fnmatch
import io
import json
import math
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from fractions import Fraction

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import xxh3  # noqa: E402


class CannotRecompute(Exception):
    pass


# ---------------------------------------------------------------------------------------------- histograms

MAX_VALUE = 3_600_000_000


def highest(value):
    """HdrHistogram, three digits: the bounds of the bucket of a value."""
    value = min(value, MAX_VALUE)
    unit = 1 << max(0, value.bit_length() - 11)
    low = value // unit * unit
    return low, low + unit - 1


class Histogram:
    def __init__(self):
        self.counts = Counter()
        self.n = 0
        self.clipped = 0

    def add(self, value, count=1):
        self.counts[highest(value)] += count
        self.n += count
        self.clipped += count * (value > MAX_VALUE)

    def merge(self, other):
        self.counts.update(other.counts)
        self.n += other.n

    def ranked(self, rank):
        seen = 0
        for bounds in sorted(self.counts):
            seen += self.counts[bounds]
            if seen >= rank:
                return bounds[1]
        return None

    def quantile(self, q):
        return self.ranked(nearest_rank(q, self.n)) if self.n else None

    def min(self):
        return min(self.counts)[0]

    def max(self):
        return max(self.counts)[1]

    def total(self):
        return sum((low + (high - low + 1) // 2) * count for (low, high), count in self.counts.items())

    def mean(self):
        return self.total() / self.n


def nearest_rank(q, n):
    return max(1, math.ceil(q * n))


def percentile(text):
    return Fraction(text) / 100


def decode_blob(blob):
    """HdrHistogram V2 compressed: zlib, then a header and zigzag LEB128 counts."""
    data = base64.b64decode(blob)
    cookie, length = struct.unpack_from(">II", data)
    assert cookie & ~0xF0 == 0x1C849304, f"cookie {cookie:x} of a compressed histogram"
    data = zlib.decompress(data[8 : 8 + length])
    cookie, payload, _, digits, lowest = struct.unpack_from(">IIIIQ", data)
    assert cookie & ~0xF0 == 0x1C849303 and digits == 3 and lowest == 1
    at, index, end = 40, 0, 40 + payload
    histogram = Histogram()
    while at < end:
        shift = number = 0
        while True:
            byte = data[at]
            at += 1
            if shift == 56:
                number |= byte << 56
                break
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
        number = (number >> 1) ^ -(number & 1)
        if number < 0:
            index -= number
            continue
        if number:
            bucket = max(0, (index >> 10) - 1)
            sub = (index & 1023) + 1024 if index >= 2048 else index
            histogram.add(sub << bucket, number)
        index += 1
    return histogram


# ---------------------------------------------------------------------------------------------- statistics


def binomial_cdf(k, n, q):
    """P(Bin(n, q) <= k), summed outwards from k on the side that is the smaller."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    p = float(q)
    below = k < p * n
    i = k if below else k + 1
    term = math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p))
    total = 0.0
    while 0 <= i <= n and term > total * 1e-18:
        total += term
        if below:
            term *= i / (n - i + 1) * (1 - p) / p
            i -= 1
        else:
            term *= (n - i) / (i + 1) * p / (1 - p)
            i += 1
    return total if below else 1.0 - total


def interval_ranks(q, n):
    """Greatest l with P(Bin <= l-1) <= 2.5 %, least u with P(Bin >= u) <= 2.5 %."""
    half = 0.025

    def search(holds):
        low, high = 0, n
        while low < high:
            middle = (low + high + 1) // 2
            if holds(middle):
                low = middle
            else:
                high = middle - 1
        return low

    low = search(lambda rank: binomial_cdf(rank - 1, n, q) <= half)
    high = search(lambda rank: 1 - binomial_cdf(rank - 1, n, q) > half) + 1
    return (low if low >= 1 else None), (high if high <= n else None)


def wilson(hits, n):
    z = statistics.NormalDist().inv_cdf(0.975)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (0.0 if hits == 0 else max(0.0, centre - half)), (1.0 if hits == n else min(1.0, centre + half))


def mcnemar(b, c):
    n = b + c
    return float(Fraction(sum(math.comb(n, i) for i in range(b, n + 1)), 2**n)) if n else 1.0


def smirnov(first, second):
    """Distance, and its exact chance, of two samples of one size: lattice paths that reach n D off the diagonal, by reflection."""
    n, steps = len(first), sorted({*first, *second})
    first, second = sorted(first), sorted(second)
    widest = max(abs(bisect.bisect_right(first, step) - bisect.bisect_right(second, step)) for step in steps)
    if not widest:
        return 0.0, 1.0
    whole = math.comb(2 * n, n)
    paths = sum((-1) ** (j - 1) * math.comb(2 * n, n - j * widest) for j in range(1, n // widest + 1))
    return widest / n, min(1.0, max(0.0, float(Fraction(2 * paths, whole))))


def shift(of, sizes):
    """Trend, distance, floor, p of sizes (request, primary, candidate, control) in order."""
    pairs = list(zip(sizes, sizes[len(sizes) // 4:]))
    for trend, goes in (("up", lambda a, b: b > a), ("down", lambda a, b: b < a)):
        if of != "number" or any(sum(goes(a[i], b[i]) for a, b in pairs) < 0.95 * len(pairs) for i in (1, 3)):
            continue
        b = sum(goes(x[3], y[3]) and not goes(x[2], y[2]) for x, y in pairs)
        c = sum(goes(x[2], y[2]) and not goes(x[3], y[3]) for x, y in pairs)
        # Counted is who goes astray alone: the candidate b times.
        return trend, max(0, b - c) / len(pairs), 0.0, mcnemar(b, c)
    primary, candidate, control = ([one[i] for one in sizes] for i in (1, 2, 3))
    apart = lambda a, b: [x - y for x, y in zip(a, b)]
    d, p = smirnov(apart(candidate, primary), apart(control, primary))
    floor = smirnov(apart(control, primary), apart(primary, control))[0]
    if of == "time":
        return None, d, floor, p
    plain_d, plain_p = smirnov(candidate, control)
    if plain_p < p:
        d, p, floor = plain_d, plain_p, smirnov(primary, control)[0]
    return None, d, floor, min(1.0, 2 * p)


def holm(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, values[i] * (len(values) - rank)))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, least = [1.0] * len(values), 1.0
    for rank, i in reversed(list(enumerate(order, 1))):
        least = min(least, values[i] * len(values) / rank)
        adjusted[i] = least
    return adjusted


def student(p, df):
    """Quantile of Student's t, for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""

    def within(t):
        angle = math.atan(t / math.sqrt(df))
        cos, sin = math.cos(angle), math.sin(angle)
        term, total = (cos, 0.0) if df % 2 else (1.0, 0.0)
        for k in range(df // 2):
            total += term
            term *= cos * cos * ((2 * k + 2) / (2 * k + 3) if df % 2 else (2 * k + 1) / (2 * k + 2))
        return 2 / math.pi * (angle + sin * total) if df % 2 else sin * total

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 2 * p - 1 else (low, middle)
    return (low + high) / 2


def blocks(windows):
    """A dozen blocks of 3 s or more, of whole seconds before they are fitted into their windows."""
    length = max(3_000_000, -(-sum(end - begin for begin, end in windows) // 12_000_000) * 1_000_000)
    cut = []
    for begin, end in windows:
        count = (end - begin) // length
        cut += [(begin + (end - begin) * i // count, begin + (end - begin) * (i + 1) // count) for i in range(count)]
    return cut


def log_ratio(baseline, candidate):
    return math.log(max(1, candidate) / max(1, baseline))


def spread(pairs, q):
    """Mean, standard deviation and half of the 95 % interval of the blocks' log ratios."""
    ratios = [log_ratio(a.quantile(q), b.quantile(q)) for a, b in pairs if a.n and b.n]
    mean = math.fsum(ratios) / max(1, len(ratios))
    deviation = math.sqrt(math.fsum((ratio - mean) ** 2 for ratio in ratios) / max(1, len(ratios) - 1))
    half = student(0.975, len(ratios) - 1) * deviation / math.sqrt(len(ratios)) if len(ratios) > 1 else 0.0
    return mean, deviation, half


def speed(pairs, control, margins):
    """What p50 and p90 of blocks come to: -1 improved, 0 same, 1 regressed, None open; "few": too little to say."""
    whole = [sum(pair[side].n for pair in pairs) for side in (0, 1)]
    if len(pairs) < 7 or min(whole) < 1_000:
        return "few"

    def apart(q, swapped):
        sides = Histogram(), Histogram()
        for i, pair in enumerate(pairs):
            for side in (0, 1):
                sides[side ^ (swapped >> i & 1)].merge(pair[side])
        return sides[0].quantile(q), sides[1].quantile(q)

    rows = []
    for q in (Fraction(1, 2), Fraction(9, 10)):
        a, b = apart(q, 0)
        least = abs(log_ratio(a, b)) - 1e-12
        ways = 1 << len(pairs) - 1
        rows.append((q, a, b, sum(abs(log_ratio(*apart(q, swapped))) >= least for swapped in range(ways)) / ways))
    called = []
    for (q, a, b, _), p in zip(rows, holm([row[3] for row in rows])):
        mean, _, half = spread(pairs, q)
        delta = math.log1p(margins[0 if q == Fraction(1, 2) else 1])
        if control is not None:
            own, _, wide = spread(control, q)
            delta = max(delta, abs(own) + wide)
        low, high = highest(a)
        floor = max(200, 2 * (high - low + 1))
        sure, far = p <= 0.05 and abs(a - b) >= floor, log_ratio(a, b)
        small = max(delta, math.log1p(floor / max(1, a)))
        same = mean - half >= -small and mean + half <= small
        called.append(1 if sure and far >= delta else -1 if sure and far <= -delta else 0 if same else None)
    return 1 if 1 in called else None if None in called else -1 if -1 in called else 0


# ---------------------------------------------------------------------------------------------- reading

UNITS = {"us": 1, "µs": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000}


def micros(text):
    match = re.fullmatch(r"\s*([\d.]+)\s*(ns|us|µs|ms|s|m|min|h)\s*", str(text))
    if not match:
        raise CannotRecompute(f"`{text}` is no duration")
    if match[2] == "ns":
        return float(Fraction(match[1]) / 1000)
    return float(Fraction(match[1]) * UNITS[match[2]])


def share(text):
    text = str(text).strip()
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def compressed_lines(path):
    try:
        import zstandard

        with open(path, "rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file)
            for line in io.TextIOWrapper(reader, encoding="utf-8"):
                yield json.loads(line)
        return
    except ImportError:
        pass
    if not shutil.which("zstd"):
        raise CannotRecompute("neither the command `zstd` nor the Python package `zstandard` is there to open requests.jsonl.zst")
    with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise CannotRecompute(f"zstd -dc {path} ended with {process.returncode}")


def without_query(path):
    return path.split("?", 1)[0]


def glob(pattern, text):
    # fnmatch knows more than `*`: only that may mean something.
    pattern = re.sub(r"([\[\]?])", r"[\1]", pattern)
    return fnmatch.fnmatchcase(text, pattern)


# ---------------------------------------------------------------------------------------------- the run


class Run:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
            self.json = json.load(file)
        self.wrong = []
        self.compared = Counter()
        self.scenario = self.json["scenario"]["resolved"]
        self.seed = self.json["seed"]
        self.phases = self.json["phases"]
        self.sides = {0: "primary"}
        for number, shadow in enumerate(self.json["shadows"], 1):
            self.sides[number] = shadow["id"]
        self.driven = {source["to"] for source in self.scenario["traffic"]}
        self.errors = self.scenario["errors"]
        if self.json["requests"]["kept"] != "all":
            raise CannotRecompute(f"only `requests: all` can be recomputed, this bundle has {self.json['requests']}")
        self.events = list(lines(os.path.join(folder, "events.jsonl")))
        self.requests, self.hops = [], []
        for line in compressed_lines(os.path.join(folder, "requests.jsonl.zst")):
            hops = line.get("hops", line.get("late"))
            for hop in hops:
                hop["ord"] = line["ord"] if "arrival" not in hop else hop["arrival"]
                hop["scheduled"] = "arrival" not in hop
                hop["due_us"] = hop["start_us"] if hop["intended_ms"] is None else hop["intended_ms"] * 1000
                self.hops.append(hop)
            if "hops" in line:
                self.requests.append(line)
        self.of = defaultdict(list)
        for hop in self.hops:
            self.of[(hop["service"], hop["side"])].append(hop)
        self.cells = {}
        self.mirrors = [event for event in self.events if event["kind"] == "mirror"]
        for mirror in self.mirrors:
            mirror["due_us"] = mirror["t_us"] if mirror["intended_ms"] is None else mirror["intended_ms"] * 1000
        self.hits = [event for event in self.events if event["kind"] == "hit"]
        control = [shadow["id"] for shadow in self.json["shadows"] if shadow["role"] == "control"]
        noise = (self.scenario.get("diff") or {}).get("noise") or {}
        self.control = noise.get("control") or None
        self.alpha = float(noise.get("alpha", 0.01))
        self.min_effect = share(noise.get("min_effect", "0.1%"))
        del control

    # ------------------------------------------------------------------ saying

    def same(self, what, ours, theirs, tolerance=0.0):
        self.compared[what.split(" ", 1)[0]] += 1
        if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) and not isinstance(ours, bool):
            if ours == theirs or abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs)) + (1e-300 if tolerance else 0):
                return
        elif ours == theirs:
            return
        self.wrong.append(f"{what}: recomputed {ours!r}, the report says {theirs!r}")

    # ------------------------------------------------------------------ errors, phases, windows

    def is_error(self, status, complete, grpc=None):
        if status is None or not complete:
            return "no_response" in self.errors
        for rule in self.errors:
            if re.fullmatch(r"\dxx", rule) and status // 100 == int(rule[0]):
                return True
            if rule.isdigit() and status == int(rule):
                return True
        return "grpc_nonzero" in self.errors and bool(grpc)

    def phase(self, due_us):
        for phase in self.phases:
            if phase["begin_us"] <= due_us < phase["end_us"]:
                return phase["id"]
        return None

    def recorded(self):
        return [(phase["begin_us"], phase["end_us"]) for phase in self.phases if phase["record"]]

    def window(self, name):
        return next((phase["begin_us"], phase["end_us"]) for phase in self.phases if phase["id"] == name)

    # ------------------------------------------------------------------ choices

    def recompute_faults(self):
        chosen = defaultdict(dict)
        for hit in self.hits:
            key = (hit["ord"], hit["side"], hit["n"], hit["caller"], hit["service"], hit["method"], hit["path"], hit["attempt"])
            if key in chosen[hit["fault"]]:
                self.wrong.append(f"choice {hit['fault']}: {key} is told twice")
            chosen[hit["fault"]][key] = hit
        stopped = any(event["kind"] in ("guard",) or (event["kind"] == "fault" and event["by"] != "timeline") for event in self.events)
        ended = self.json["state"] == "finished" and not stopped and all(s["held"] for s in self.json["steady_state"])
        parts = {part["id"]: part for part in self.json["faults"]}
        for fault in self.scenario.get("faults", []):
            part = parts[fault["id"]]
            if part["kind"] in CONNECTION_KINDS:
                self.recompute_connections(fault, part, chosen[fault["id"]], ended)
                continue
            expected, considered, unsure = {}, Counter(), 0
            for hop in self.hops:
                if hop["inbound"]:
                    continue
                if hop["service"] != fault["target"]:
                    if fault["id"] in hop["considered"]:
                        self.wrong.append(f"considered {fault['id']} {hop['ord']}: told of a call to {hop['service']}")
                    continue
                in_window = any(begin <= hop["due_us"] < end for begin, end in part["windows_us"])
                meant = self.fault_matches(fault, hop) and in_window and hop["intended_ms"] is not None
                told = fault["id"] in hop["considered"]
                # Headers of requests are not in the bundle: what they decide is taken from what is told.
                if fault["match"].get("headers"):
                    meant = meant and told
                if ended:
                    self.same(f"considered {fault['id']} {hop['ord']} {hop['path']}", bool(meant), told)
                if not told:
                    continue
                considered[hop["side"]] += 1
                begin = next((b for b, e in part["windows_us"] if b <= hop["due_us"] < e), None)
                self.expect(fault, hop, begin, expected)
            self.same(f"fault {fault['id']} considered", considered[0], part["considered"])
            self.counted_choices(fault, chosen[fault["id"]], considered, expected)
            if expected is not None and "first" not in fault and "every" not in fault:
                ours, theirs = set(expected), set(chosen[fault["id"]])
                for key in sorted(ours - theirs, key=str):
                    self.wrong.append(f"choice {fault['id']}: {key} should be chosen (u {expected[key][0]:.6f}), and is not told")
                for key in sorted(theirs - ours, key=str):
                    self.wrong.append(f"choice {fault['id']}: {key} is told, and should not be chosen")
                self.compared["choices"] += len(ours | theirs)
                for key in ours & theirs:
                    u, p, asked = expected[key]
                    hit = chosen[fault["id"]][key]
                    self.same(f"u {fault['id']} {key}", u, hit["u"])
                    self.same(f"p {fault['id']} {key}", p, hit["p"], 1e-12)
            for key, hit in chosen[fault["id"]].items():
                asked = self.amount(fault, hit)
                if asked is not None and hit["asked_us"] is not None and abs(asked - hit["asked_us"]) > 1 + 1e-9 * asked:
                    self.wrong.append(f"amount {fault['id']} {key}: recomputed {asked} us, asked for {hit['asked_us']} us")
                self.compared["amounts"] += asked is not None
            effects = Counter(hit["effect"] for hit in chosen[fault["id"]].values() if hit["side"] == 0)
            self.same(f"fault {fault['id']} chosen", sum(effects.values()), part["chosen"])
            for effect in ("applied", "superseded", "capped", "abandoned"):
                self.same(f"fault {fault['id']} {effect}", effects[effect], part[effect])

    def recompute_connections(self, fault, part, chosen, ended):
        """A fault of connections: a draw for each that is told as considered, by its number and how often it had been opened."""
        considered, expected = {}, {}
        for event in self.events:
            if event["kind"] != "connection" or fault["id"] not in event["considered"]:
                continue
            key = (event["conn"], event["side"], event["reopenings"], event["caller"], event["service"], "TCP", "", 0)
            if key in considered:
                self.wrong.append(f"considered {fault['id']}: {key} is told twice")
            considered[key] = event
            if event["service"] != fault["target"] or fault.get("from") not in (None, event["caller"]):
                self.wrong.append(f"considered {fault['id']}: told of a connection of {event['caller']} to {event['service']}")
            if ended and not any(begin - 100_000 <= event["t_us"] < end + 250_000 for begin, end in part["windows_us"]):
                self.wrong.append(f"considered {fault['id']}: {key} at {event['t_us']} us, when it was off")
            number, u = event["conn"], xxh3.unit(xxh3.rule(self.seed, rule_name(fault, event)), xxh3.key(event["conn"], event["reopenings"], 0, "TCP", ""))
            if "first" in fault or "every" in fault:
                if event["scheduled"]:
                    # Which connections there would be is the plan's; what is told is taken for it.
                    hit = key in chosen
                else:
                    hit = number < fault["first"] if "first" in fault else (number + 1) % fault["every"] == 0
                u = p = None
            else:
                p = share(fault.get("percent", "100%"))
                hit = u < p
            if hit:
                expected[key] = (u, p)
        for key in sorted(set(expected) ^ set(chosen), key=str):
            self.wrong.append(f"choice {fault['id']}: {key} is {'not told' if key in expected else 'told, and should not be'}")
        self.compared["choices"] += len(considered)
        for key, (u, p) in expected.items():
            if u is not None and key in chosen:
                self.same(f"u {fault['id']} {key}", u, chosen[key]["u"])
                self.same(f"p {fault['id']} {key}", p, chosen[key]["p"], 1e-12)
        self.same(f"fault {fault['id']} considered", sum(event["side"] == 0 for event in considered.values()), part["considered"])
        effects = Counter(hit["effect"] for hit in chosen.values() if hit["side"] == 0)
        self.same(f"fault {fault['id']} chosen", sum(effects.values()), part["chosen"])
        for effect in ("applied", "superseded", "capped", "abandoned"):
            self.same(f"fault {fault['id']} {effect}", effects[effect], part[effect])

    def fault_matches(self, fault, hop):
        match = fault.get("match") or {}
        return (
            hop["service"] == fault["target"]
            and hop["caller"] in ([fault["from"]] if fault.get("from") else [hop["caller"]])
            and (not match.get("methods") or hop["method"] in match["methods"])
            and ("path" not in match or glob(match["path"], without_query(hop["path"])))
        )

    def expect(self, fault, hop, begin_us, expected):
        path = without_query(hop["path"])
        name = rule_name(fault, hop)
        p = share(fault.get("percent", "100%"))
        if "ramp" in fault:
            begin = share(fault["ramp"]["from"])
            over_ms = micros(fault["ramp"]["over"]) / 1000
            elapsed = (hop["due_us"] - begin_us) / 1000
            p = p if elapsed >= over_ms else begin + (p - begin) * (elapsed / over_ms)
        # A stale connection is replaced within an attempt, of which there is always a first one.
        tries = sum(attempt["why"] != "stale connection" for attempt in hop["attempts"]) if fault.get("place") == "attempt" else 1
        for attempt in range(max(1, tries)):
            u = xxh3.unit(xxh3.rule(self.seed, name), xxh3.key(hop["ord"], hop["n"], attempt, hop["method"], path))
            if u < p:
                expected[(hop["ord"], hop["side"], hop["n"], hop["caller"], hop["service"], hop["method"], path, attempt)] = (u, p, None)

    def counted_choices(self, fault, chosen, considered, expected):
        """`first` and `every`: by ordinal where traffic drives the target, else by arrival, of which only the number is sure."""
        if "first" not in fault and "every" not in fault:
            return
        first, every = fault.get("first"), fault.get("every")
        per_place = defaultdict(list)
        for hop in self.hops:
            if fault["id"] in hop["considered"] and not hop["inbound"]:
                per_place[(hop["side"], hop["caller"])].append(hop["ord"])
        for (side, caller), ordinals in per_place.items():
            told = sorted(hit["ord"] for hit in chosen.values() if hit["side"] == side and hit["caller"] == caller)
            if fault["target"] in self.driven and caller == "client":
                ordinals.sort()
                should = ordinals[:first] if first else ordinals[every - 1 :: every]
                self.same(f"choice {fault['id']} by ordinal, side {side}", should, told)
            else:
                number = min(first, len(ordinals)) if first else len(ordinals) // every
                self.same(f"choice {fault['id']} by arrival, side {side}, from {caller}", number, len(told))

    def amount(self, fault, hit):
        """What a delay asks for, in microseconds; None: not a delay."""
        if "delay" not in fault:
            return None
        u = xxh3.unit(xxh3.rule(self.seed, rule_name(fault, hit) + "#amount"), xxh3.key(hit["ord"], hit["n"], hit["attempt"], hit["method"], hit["path"]))
        delay = fault["delay"]
        if not isinstance(delay, dict):
            return micros(delay)
        (kind, of), = delay.items()
        if kind == "uniform":
            low, high = (micros(part) for part in of.split(".."))
            value = low + (high - low) * u
        elif kind == "normal":
            value = micros(of["mean"]) + micros(of["sd"]) * statistics.NormalDist().inv_cdf(u or 2.0**-54)
        elif kind == "exponential":
            value = -micros(of["mean"]) * math.log1p(-u)
        elif kind == "pareto":
            value = micros(of["scale"]) * (1 - u) ** (-1 / float(of["shape"]))
        elif kind == "table":
            points = sorted((float(percentile(name[1:])), micros(value)) for name, value in of.items())
            before, value = (0.0, 0.0), None
            for q, at in points:
                if u < q:
                    value = before[1] + (at - before[1]) * (u - before[0]) / (q - before[0])
                    break
                before = (q, at)
            value = before[1] if value is None else value
        else:
            raise CannotRecompute(f"not known: a delay by `{kind}`")
        return min(max(0.0, value), 3_600_000_000)

    def recompute_samples(self):
        for shadow, part in zip(self.scenario.get("shadow", []), self.json["shadows"]):
            told = [mirror for mirror in self.mirrors if mirror["shadow"] == shadow["id"]]
            keys = Counter(call(mirror) for mirror in told)
            for key, count in keys.items():
                if count > 1:
                    self.wrong.append(f"sample {shadow['id']}: {key} is told {count} times")
            match = shadow.get("match") or {}
            if shadow["sample"]["key"] == "ordinal" and not match.get("headers"):
                p = share(shadow["sample"]["percent"])
                rule = xxh3.rule(self.seed, "sample")
                meant = Counter()
                for hop in self.hops:
                    if hop["inbound"] or hop["side"] or hop["service"] != shadow["of"]:
                        continue
                    if match.get("methods") and hop["method"] not in match["methods"]:
                        continue
                    if "path" in match and not glob(match["path"], without_query(hop["path"])):
                        continue
                    if xxh3.unit(rule, struct.pack("<Q", hop["ord"])) < p:
                        meant[call(hop)] += 1
                # A request that a fault ended never came to the mirror.
                ended = {call(hit) for hit in self.hits if hit["side"] == 0 and hit["status"] is not None}
                for key in sorted(set(meant) - set(keys) - ended):
                    self.wrong.append(f"sample {shadow['id']}: {key} should be chosen, and is not told")
                for key in sorted(set(keys) - set(meant)):
                    self.wrong.append(f"sample {shadow['id']}: {key} is told, and should not be chosen")
                self.compared["samples"] += len(set(meant) | set(keys))
            self.same(f"shadow {shadow['id']} chosen", len(told), part["chosen"])
            outcomes = Counter(mirror["outcome"] for mirror in told)
            self.same(f"shadow {shadow['id']} compared", outcomes["compared"], part["compared"])
            self.same(f"shadow {shadow['id']} sent", len(told) - outcomes["shed"], part["sent"])
            for outcome in ("shed", "failed", "skipped"):
                why = Counter(mirror["why"] for mirror in told if mirror["outcome"] == outcome)
                self.same(f"shadow {shadow['id']} {outcome}", dict(why), part[outcome])
            delta = self.delta(shadow["id"], [(0, math.inf)])
            if delta:
                row = {name: ranked_delta(delta, percentile(name[1:])) for name in ("p50", "p90", "p99")}
                self.same(f"shadow {shadow['id']} delta", {"n": len(delta), **row}, part["delta_us"])

    def delta(self, shadow, windows):
        return sorted(
            mirror["answer"]["us"] - mirror["primary"]["us"]
            for mirror in self.mirrors
            if mirror["shadow"] == shadow and mirror["outcome"] == "compared" and inside(mirror["due_us"], windows)
        )

    def times(self, shadow, block):
        sides = Histogram(), Histogram()
        for mirror in self.mirrors:
            if mirror["shadow"] == shadow and mirror["outcome"] == "compared" and inside(self.slice(mirror["due_us"]), [block]):
                sides[0].add(mirror["primary"]["us"])
                sides[1].add(mirror["answer"]["us"])
        return sides

    def verdict(self, shadow, windows):
        """As `speed` says, by the scenario's margins; None too where the control is not as fast itself, or more than 1 % of the copies were lost."""
        said = (self.scenario.get("compare") or {}).get("margins") or {}
        margins = [share(said.get(name, "5%")) for name in ("p50", "p90")]
        pairs, noise = [], []
        for block in blocks(windows):
            pair = self.times(shadow, block)
            own = self.times(self.control, block) if self.is_controlled(shadow) else None
            if pair[0].n >= 20 and (own is None or own[0].n >= 20):
                pairs.append(pair)
                noise.append(own)
        if not self.is_controlled(shadow):
            called, own = speed(pairs, None, margins), None
        else:
            called, own = speed(pairs, noise, margins), speed(noise, None, margins)
        if "few" in (called, own):
            return "few"
        told = [mirror for mirror in self.mirrors if mirror["shadow"] == shadow and inside(mirror["due_us"], windows)]
        lost = sum(mirror["outcome"] in ("shed", "failed") for mirror in told)
        if lost * 100 > len(told) or own in (1, -1):
            return None
        return called

    # ------------------------------------------------------------------ counts and latencies

    def cell(self, service, side, windows, keep=None):
        """All that was measured of a service's side in these windows: counts and histograms by kind."""
        if keep is not None:
            return self.measured(service, side, windows, keep)
        key = (service, side, tuple(windows))
        if key not in self.cells:
            self.cells[key] = self.measured(service, side, windows, lambda request: True)
        return self.cells[key]

    def measured(self, service, side, windows, keep):
        tally = {"requests": 0, "attempts": 0, "retries": 0, "errors": 0, "bytes": 0, "status": Counter(), "flags": Counter()}
        latency = defaultdict(Histogram)
        driven = service in self.driven and side == 0
        if driven:
            for request in self.requests:
                if request["service"] != service or not inside(request["intended_us"], windows) or not keep(request):
                    continue
                tally["requests"] += 1
                tally["errors"] += self.is_error(request["status"], request["complete"], request["grpc_status"])
                tally["bytes"] += request["bytes"][0]
                tally["status"][request["status"] or 0] += 1
                latency["lateness"].add(max(0, request["released_us"] - request["intended_us"]))
                if request["sent_us"] is not None:
                    latency["blocked"].add(max(0, request["sent_us"] - request["released_us"]))
                if request["complete"]:
                    latency["response"].add(max(0, request["done_us"] - request["intended_us"]))
                    if request["sent_us"] is not None:
                        latency["service"].add(max(0, request["done_us"] - request["sent_us"]))
        for hop in self.of[(service, side)]:
            if not inside(hop["due_us"], windows) or not keep(hop):
                continue
            answered = hop["complete"] and hop["status"] is not None
            if hop["inbound"]:
                tally["attempts"] += 1
                if answered:
                    latency["inbound"].add(hop["us"])
                continue
            if driven:
                if hop["caller"] != "client":
                    continue
            else:
                tally["requests"] += 1
                tally["errors"] += self.is_error(hop["status"], hop["complete"])
                tally["bytes"] += hop["bytes"][1]
                tally["status"][hop["status"] or 0] += 1
                if answered:
                    latency["service"].add(hop["us"])
            tally["retries"] += max(0, len(hop["attempts"]) - 1)
            tally["flags"].update(hop["flags"])
        return tally, latency

    def recompute_tables(self):
        log = self.read_log()
        rows = {row["tag"]: row for row in self.json["latency"]}
        counts = {(row["service"], row["phase"]): row for row in self.json["counts"]}
        services = {hop["service"] for hop in self.hops} | self.driven
        seen, counted = set(), set()
        for service in sorted(services):
            for side, name in self.sides.items():
                for phase in self.phases:
                    tally, latency = self.cell(service, side, [(phase["begin_us"], phase["end_us"])])
                    for kind, histogram in latency.items():
                        tag = f"{service}/{name}/{phase['id']}/{kind}"
                        seen.add(tag)
                        self.same_latency(tag, histogram, rows.get(tag), log.get(tag))
                    if side == 0 and (tally["requests"] or tally["attempts"]):
                        counted.add((service, phase["id"]))
                        row = counts.get((service, phase["id"]))
                        if row is None:
                            self.wrong.append(f"counts {service} {phase['id']}: {tally}, the report has no row")
                            continue
                        for name_, value in tally.items():
                            theirs = row[name_]
                            if name_ == "status":
                                theirs = {int(status): count for status, count in theirs.items()}
                            self.same(f"counts {service} {phase['id']} {name_}", dict(value) if isinstance(value, Counter) else value, theirs)
        for tag in sorted((set(rows) | set(log)) - seen):
            self.wrong.append(f"latency {tag}: the report has it, no request does")
        for key in sorted(set(counts) - counted):
            self.wrong.append(f"counts {key}: the report has them, no request does")

    def same_latency(self, tag, histogram, row, logged):
        if row is None or logged is None:
            self.wrong.append(f"latency {tag}: {histogram.n} samples, missing in {'run.json' if row is None else 'latency.hlog'}")
            return
        self.same(f"hlog {tag}", dict(histogram.counts), dict(logged.counts))
        ours = {"n": histogram.n, "clipped": histogram.clipped, "min": histogram.min(), "max": histogram.max()}
        for name, q in (("p50", "50"), ("p90", "90"), ("p99", "99"), ("p999", "99.9")):
            ours[name] = histogram.quantile(percentile(q))
        self.same(f"latency {tag}", ours, {name: row[name] for name in ours})

    def read_log(self):
        log = defaultdict(Histogram)
        with open(os.path.join(self.folder, "latency.hlog"), encoding="utf-8") as file:
            text = file.read().splitlines()
        self.same("hlog version", "#[Histogram log format version 1.3]", text[0])
        for line in text:
            if not line.startswith("Tag="):
                continue
            tag, begin, length, _, blob = line.split(",", 4)
            tag = tag[4:]
            begin_us, length_us = round(float(begin) * 1e6), round(float(length) * 1e6)
            phase = tag.split("/")[2]
            begin_phase, end_phase = self.window(phase)
            if not (begin_phase <= begin_us and begin_us + length_us <= end_phase and length_us <= 1_000_000):
                self.wrong.append(f"hlog {tag}: the line at {begin} s of {length} s is not a second of its phase")
            log[tag].merge(decode_blob(blob))
        return log

    def recompute_generator(self):
        part = self.json["generator"]
        all_ = {"lateness": Histogram(), "blocked": Histogram()}
        for service in self.driven:
            _, latency = self.cell(service, 0, [(0, math.inf)])
            for kind, histogram in all_.items():
                histogram.merge(latency[kind])
        for kind, histogram in all_.items():
            spread = part[f"{kind}_us"]
            ours = {"p50": 0, "p99": 0, "max": 0}
            if histogram.n:
                ours = {"p50": histogram.quantile(percentile("50")), "p99": histogram.quantile(percentile("99")), "max": histogram.max()}
            self.same(f"generator {kind}", ours, spread)
        sent = sum(request["sent_us"] is not None for request in self.requests)
        done = sum(request["complete"] for request in self.requests)
        self.same("generator sent", sent, part["sent"])
        self.same("generator done", done, part["done"])
        self.same("generator no_response", sent - done, part["no_response"])
        self.same("generator overflow", sum(event["kind"] == "overflow" for event in self.events), part["overflow"])
        self.same("requests written", len(self.requests), self.json["requests"]["written"])
        if self.json["state"] == "finished":
            self.same("requests planned", len(self.requests), self.json["schedule"]["planned"])
        unscheduled = sum(not hop["scheduled"] for hop in self.hops)
        self.same("unidentified share", unscheduled / len(self.hops) if self.hops else 0.0, self.json["unidentified"], 1e-12)

    # ------------------------------------------------------------------ differences

    def pairs(self, shadow, windows):
        """Fields with b, c, both, total; compared, paired, different."""
        told, is_controlled = {}, self.is_controlled(shadow)
        for mirror in self.mirrors:
            if mirror["shadow"] == self.control and mirror["outcome"] == "compared":
                told[call(mirror)] = mirror
        fields, totals, shapes = defaultdict(lambda: [0, 0, 0]), Counter(), {}
        compared = paired = different = 0
        for mirror in self.mirrors:
            if mirror["shadow"] != shadow or mirror["outcome"] != "compared" or not inside(mirror["due_us"], windows):
                continue
            compared += 1
            ours = differing(mirror)
            different += any(rule is None for _, _, rule in ours)
            if is_controlled and call(mirror) not in told:
                continue
            control = told[call(mirror)] if is_controlled else None
            noise = differing(control)
            paired += 1
            totals[mirror["endpoint"]] += 1
            for field in ours | noise:
                counts = fields[(mirror["endpoint"], *field)]
                counts[0 if field not in noise else 2 if field in ours else 1] += 1
            self.look_at(shapes, mirror, control)
        # That values have another form is told where the control's values differ too.
        known = lambda place: place[2] != "shape" or sum(fields[(place[0], place[1], "value", place[3])][1:]) > 0
        rows = [(place, *counts, totals[place[0]]) for place, counts in list(fields.items()) if known(place)]
        self.forms = {place: forms for place, (forms, _) in shapes.items()}
        self.shifts = [
            (place, shift(sizes[0][0], [one[1:] for one in sizes]), len(sizes)) for place, sizes in self.sizes(shapes)
            if place[3] is None and totals[place[0]] and sum(fields[place][1:]) >= 0.9 * totals[place[0]]
        ]
        rows.sort(key=lambda row: tuple("" if part is None else part for part in row[0]))
        return self.judged(rows, is_controlled), compared, paired, different

    def is_controlled(self, shadow):
        """Whether the control is one of the same service, and another shadow."""
        of = {part["id"]: part["of"] for part in self.json["shadows"]}
        return self.control is not None and shadow != self.control and of[shadow] == of[self.control]

    def look_at(self, shapes, mirror, control):
        """Takes in what forms the values of a pair have that differ, and how large they are."""
        looks = []
        for each in (mirror, control):
            looks.append(look := {})
            for path, kind, rule, *shape in each["differs"] if each else []:
                if kind != "value":
                    continue
                shape = shape[0] if shape else None
                known = look.setdefault((mirror["endpoint"], path, kind, rule), [shape, None])
                forms = set(shape["forms"]) if shape else set()
                known[1] = forms if known[1] is None else known[1] & forms
                if shape is None:
                    known[0] = None
            for place, (_, forms) in look.items():
                seen = shapes.setdefault(place, [None, defaultdict(list)])
                seen[0] = forms if seen[0] is None else seen[0] & forms
        for place in looks[0].keys() & looks[1].keys():
            ours, noise = looks[0][place][0], looks[1][place][0]
            if ours and noise and ours["of"] == noise["of"] and ours["sizes"] and noise["sizes"] and ours["sizes"][0] == noise["sizes"][0]:
                one = ((mirror["ord"], mirror["n"]), *ours["sizes"], noise["sizes"][1])
                shapes[place][1][self.slice(mirror["due_us"])].append((ours["of"], *one))

    def sizes(self, shapes):
        """Sizes of the places that are tested: of every slice those of the first sixteen ordinals."""
        for place, (_, slices) in shapes.items():
            kept = sorted((one for each in slices.values() for one in sorted(each, key=lambda one: one[1:])[:16]), key=lambda one: one[1:])
            if 20 <= len(kept) < 20_000 and len({one[0] for one in kept}) == 1:
                yield place, kept

    def slice(self, due_us):
        length = 100_000 if self.json["phases"][-1]["end_us"] <= 600_000_000 else 1_000_000
        begin = due_us - due_us % length
        cuts = (phase[end] for phase in self.json["phases"] for end in ("begin_us", "end_us"))
        return max([begin, *(cut for cut in cuts if begin <= cut <= due_us)])

    def judged(self, rows, is_controlled):
        tested = [row for row in rows if row[0][3] is None]
        adjusted = dict(zip((row[0] for row in tested), holm([mcnemar(row[1], row[2]) for row in tested])))
        judged = []
        for place, b, c, both, total in rows:
            p = mcnemar(b, c)
            if place[3] is not None:
                judged.append((place, b, c, both, total, p, p, "ignored"))
                continue
            p_adjusted = adjusted[place]
            sure = p_adjusted <= self.alpha
            made = self.forms.get(place) or set()
            learnt = not is_controlled and made & {"uuid", "rfc3339", "jwt", "epoch", "random"} and total > 1 and b >= 0.9 * total
            structural = place[2] in ("status", "type", "missing") and b >= 5 and ((c == 0 and both == 0) or sure)
            material = structural or (sure and b > c and (b - c) / max(1, total) >= self.min_effect)
            judged.append((place, b, c, both, total, p, p_adjusted, "material" if material and not learnt else "noise"))
        self.shifted = []
        for (place, (trend, d, floor, p), n), p_adjusted in zip(self.shifts, holm([each[1][3] for each in self.shifts])):
            material = p_adjusted <= self.alpha and d - floor >= 0.25 - 1e-9
            self.shifted.append((place, trend, d, floor, n, p, p_adjusted, "material" if material else "noise"))
        return judged

    def recompute_diffs(self):
        for shadow, part in self.json["diffs"].items():
            fields, compared, paired, different = self.pairs(shadow, self.recorded())
            self.same(f"diffs {shadow} compared", compared, part["compared"])
            self.same(f"diffs {shadow} paired", paired, part["paired"])
            self.same(f"diffs {shadow} different", different, part["pairs_different"])
            shifted = list(self.shifted)
            material = sum(each[-1] == "material" for each in [*fields, *shifted])
            self.same(f"diffs {shadow} material", material, part["material"])
            self.recompute_distributions(shadow, shifted, part["distributions"])
            theirs = {(row["endpoint"], row["path"], row["kind"], row["rule"]): row for row in part["fields"]}
            for place in sorted(set(theirs) - {field[0] for field in fields}, key=str):
                self.wrong.append(f"diffs {shadow} {place}: the report has it, no answer does")
            for place, b, c, both, total, p, p_adjusted, class_ in fields:
                row = theirs.get(place)
                if row is None:
                    self.wrong.append(f"diffs {shadow} {place}: {b}, {c}, {both} of {total}, the report has no row")
                    continue
                self.same(f"diffs {shadow} {place}", [b, c, both, total, class_], [row[k] for k in ("b", "c", "both", "total", "class")])
                self.same(f"p {shadow} {place}", p, row["p"], 1e-9)
                self.same(f"p_adjusted {shadow} {place}", p_adjusted, row["p_adjusted"], 1e-9)
            tested = [field for field in fields if field[0][3] is None and field[0] in theirs]
            for field, q in zip(tested, benjamini_hochberg([field[5] for field in tested])):
                self.same(f"q {shadow} {field[0]}", q, theirs[field[0]]["q"], 1e-9)

    def recompute_distributions(self, shadow, shifted, rows):
        rows = {(row["endpoint"], row["path"]): row for row in rows if row["n"] < 20_000}
        self.same(f"distributions {shadow}", sorted(rows), sorted(place[:2] for place, *_ in shifted))
        for place, trend, d, floor, n, p, p_adjusted, class_ in shifted:
            row = rows.get(place[:2], {})
            self.same(f"distribution {shadow} {place}", [trend, n, class_], [row.get(k) for k in ("trend", "n", "class")])
            for name, ours in (("d", d), ("floor", floor), ("p", p), ("p_adjusted", p_adjusted)):
                self.same(f"{name} of the distribution {shadow} {place}", ours, row.get(name, math.nan), 1e-6)

    # ------------------------------------------------------------------ checks and score

    def recompute_checks(self):
        parts = {part["id"]: part for part in self.json["checks"]}
        known_weight = earned = unknown = 0.0
        failed_must, must_unknown = [], False
        for check in self.scenario["checks"]:
            part = parts[check["id"]]
            outcome, points = part["outcome"], part["points"]
            if outcome != "not-run":
                outcome, points = self.recompute_check(check, part)
            weight = float(part["weight"])
            if outcome in ("pass", "partial", "fail"):
                known_weight += weight
                earned += weight * points
            else:
                unknown += weight
                must_unknown |= part["must"]
            if part["must"] and outcome == "fail":
                failed_must.append(part["id"])
        score, all_ = self.json["score"], known_weight + unknown
        self.same("score low", 100 * earned / all_, score["low"], 1e-9)
        self.same("score high", 100 * (earned + unknown) / all_, score["high"], 1e-9)
        if known_weight:
            self.same("score value", 100 * earned / known_weight, score["value"], 1e-9)
        else:
            self.same("score value", None, score["value"])
        self.same("score failed_must", failed_must, score["failed_must"])
        low, high, least = 100 * earned / all_, 100 * (earned + unknown) / all_, score["min"] - 1e-9
        verdict = (
            "fail" if failed_must else "inconclusive" if must_unknown else "fail" if high < least else "pass" if low >= least else "inconclusive"
        )
        self.same("score verdict", verdict, score["verdict"])

    def recompute_check(self, check, part):
        over = check.get("over")
        windows = [self.window(phase) for phase in over] if over else self.recorded()
        from_us = self.moment(check["from"]) if check.get("from") else None
        tree = Expression(check["that"]).tree
        if check.get("not"):
            return self.recompute_verdict(check, part, tree, windows)
        subject = tree[2] if tree[0] == "compare" else tree
        seen, truth = self.value(subject, windows, from_us), self.value(tree, windows, from_us)
        graded = "pass" in check and check["pass"] is not None
        if not truth.known:
            at_least = truth.least is not None and graded and quantity(check["fail"]) > quantity(check["pass"]) and truth.least >= quantity(check["fail"])
            outcome, points = ("fail", 0.0) if at_least else ("no-data", 0.0)
        elif graded:
            good, bad = quantity(check["pass"]), quantity(check["fail"])
            points = min(1.0, max(0.0, (bad - truth.value) / (bad - good)))
            outcome = "pass" if points >= 1 else "fail" if points <= 0 else "partial"
        else:
            outcome, points = ("pass", 1.0) if truth.value else ("fail", 0.0)
        self.same(f"check {check['id']} outcome", outcome, part["outcome"])
        self.same(f"check {check['id']} points", points, part["points"], 1e-9)
        value = seen.value if seen.known else seen.so_far if seen.so_far is not None else seen.least
        self.same(f"check {check['id']} value", None if value is None else float(value), part["value"], 1e-9)
        if seen.known and seen.interval is not None and part["interval"] is not None:
            for ours, theirs in zip(seen.interval, part["interval"]):
                self.same(f"check {check['id']} interval", float(ours), theirs, 1e-9)
        elif seen.known:
            self.same(f"check {check['id']} interval", seen.interval, part["interval"])
        return outcome, points

    def recompute_verdict(self, check, part, tree, windows):
        _, of, _, phase = tree[1]
        called = self.verdict(of, [self.window(phase)] if phase else windows)
        self.same(f"check {check['id']} value", called if isinstance(called, int) else None, part["value"])
        ruled_out = {"improved": -1, "same": 0, "regressed": 1}[check["not"]]
        outcome = {"few": "no-data", None: "inconclusive", ruled_out: "fail"}.get(called, "pass")
        points = 1.0 if outcome == "pass" else 0.0
        self.same(f"check {check['id']} outcome", outcome, part["outcome"])
        self.same(f"check {check['id']} points", points, part["points"], 1e-9)
        return outcome, points

    def moment(self, text):
        which, fault = re.fullmatch(r"(start|end)\(([a-z0-9-]+)\)", text.replace(" ", "")).groups()
        begin, end = next(part["window_us"] for part in self.json["faults"] if part["id"] == fault)
        return begin if which == "start" else end

    def value(self, tree, windows, from_us):
        kind = tree[0]
        if kind == "literal":
            return Known(tree[1], (tree[1], tree[1]))
        if kind == "metric":
            return self.metric(tree[1], windows)
        if kind == "negate":
            inner = self.value(tree[1], windows, from_us)
            if not inner.known:
                return inner
            return Known(-inner.value, inner.interval and (-inner.interval[1], -inner.interval[0]))
        if kind in ("+", "-", "*", "/"):
            left, right = (self.value(side, windows, from_us) for side in tree[1:])
            if not (left.known and right.known):
                return Unknown(arithmetic(kind, left.best(), right.best()))
            value = arithmetic(kind, left.value, right.value)
            if value is None:
                return Unknown()
            return Known(value, corners(kind, left.interval, right.interval))
        if kind == "compare":
            left, right = (self.value(side, windows, from_us) for side in tree[2:])
            if left.least is not None and right.known:
                if tree[1] in ("<", "<=") and left.least >= right.value:
                    return Known(False)
                if tree[1] in (">", ">=") and left.least >= right.value:
                    return Known(True)
            if not (left.known and right.known):
                return Unknown()
            a, b = left.value, right.value
            return Known({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[tree[1]])
        if kind == "not":
            inner = self.value(tree[1], windows, from_us)
            return Known(not inner.value) if inner.known else inner
        if kind in ("and", "or"):
            sides = [self.value(side, windows, from_us) for side in tree[1:]]
            settles = kind == "or"
            for side in sides:
                if side.known and bool(side.value) == settles:
                    return side
            return next((side for side in sides if not side.known), Known(not settles))
        if kind == "time_to":
            return self.time_to(tree[1], tree[2], from_us)
        raise CannotRecompute(f"not known: {tree}")

    def time_to(self, condition, hold_us, from_us):
        end = self.phases[-1]["end_us"]
        at = -(-(from_us + hold_us) // 1_000_000) * 1_000_000
        missing = False
        while at <= end:
            tested = self.value(condition, [(at - hold_us, at)], from_us)
            if tested.known and tested.value:
                return Known(at - from_us)
            missing |= not tested.known
            at += 1_000_000
        return Unknown() if missing else Unknown(least=end - from_us)

    def metric(self, metric, windows):
        name, of, keep, phase = metric
        if phase:
            windows = [self.window(phase)]
        length_s = sum(end - begin for begin, end in windows) / 1e6
        quantile = re.fullmatch(r"(?:(service|inbound|delta|lateness)\.)?p([\d.]+)", name)
        if quantile and quantile[1] == "delta":
            values = self.delta(of, windows)
            return ranked(percentile(quantile[2]), len(values), lambda rank: delta_bucket(values[rank - 1]))
        if quantile and quantile[1] == "lateness":
            histogram = Histogram()
            for service in self.driven:
                histogram.merge(self.cell(service, 0, windows)[1]["lateness"])
            return ranked(percentile(quantile[2]), histogram.n, histogram.ranked)
        changes = {"ejections": ("ejection", "ejected"), "breaker_opened": ("breaker", "open")}
        if name in changes:
            wanted = (*changes[name], of)
            seen = [e for e in self.events if (e["kind"], e.get("to"), e.get("service")) == wanted]
            return Known(sum(inside(e["t_us"], windows) for e in seen))
        if name == "overflow":
            due = {request["ord"]: request["intended_us"] for request in self.requests}
            return Known(sum(e["kind"] == "overflow" and inside(due.get(e["ord"], e["t_us"]), windows) for e in self.events))
        if name in ("mirrored", "shed", "compared") or name.startswith("diffs."):
            told = [m for m in self.mirrors if m["shadow"] == of and inside(m["due_us"], windows)]
            if name == "mirrored":
                return Known(len(told))
            if name in ("shed", "compared"):
                return Known(sum(m["outcome"] == name for m in told)) if told else Unknown()
            fields, compared, paired, different = self.pairs(of, windows)
            if name == "diffs.pairs":
                return Known(different) if compared else Unknown()
            class_ = name.split(".")[1]
            if paired < (5 if class_ == "material" else 1):
                return Unknown()
            fields = [*fields, *self.shifted] if class_ == "material" else fields
            return Known(sum(field[-1] == class_ for field in fields))
        tally, latency = self.cell(of, 0, windows, keep)
        usual = latency["response" if of in self.driven else "service"]
        if quantile:
            histogram = latency[quantile[1]] if quantile[1] else usual
            return ranked(percentile(quantile[2]), histogram.n, histogram.ranked)
        requests = tally["requests"]
        if name == "requests":
            return Known(requests)
        if name == "rps":
            return Known(requests / length_s)
        if name == "attempts":
            return Known(tally["attempts"]) if tally["attempts"] else Unknown()
        if name in ("min", "mean", "max"):
            return Known(getattr(usual, name)()) if usual.n else Unknown()
        if not requests:
            return Unknown()
        if name == "error_share":
            return Known(tally["errors"] / requests, wilson(tally["errors"], requests))
        if name == "in_flight":
            return Known(usual.total() / 1e6 / length_s)
        if name.startswith("flags."):
            return Known(tally["flags"][name[6:]])
        if name in ("retries", "errors", "bytes"):
            return Known(tally[name])
        raise CannotRecompute(f"not known: the metric `{name}`")


# ---------------------------------------------------------------------------------------------- values


class Known:
    known, least, so_far = True, None, None

    def __init__(self, value, interval=None):
        self.value = value
        self.interval = interval

    def best(self):
        return self.value


class Unknown:
    known, value, interval = False, None, None

    def __init__(self, so_far=None, least=None):
        self.so_far = so_far
        self.least = least

    def best(self):
        return self.so_far


def ranked(q, n, at):
    if not n:
        return Unknown()
    value = at(nearest_rank(q, n))
    if n < math.ceil(10 / (1 - q)):
        return Unknown(so_far=value)
    low, high = interval_ranks(q, n)
    return Known(value, (at(low), at(high)) if low and high else None)


def delta_bucket(value):
    return highest(value)[1] if value >= 0 else -highest(-value)[0]


def ranked_delta(values, q):
    return delta_bucket(values[nearest_rank(q, len(values)) - 1])


def arithmetic(kind, a, b):
    if a is None or b is None or (kind == "/" and b == 0):
        return None
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[kind]()


def corners(kind, left, right):
    if left is None or right is None or (kind == "/" and right[0] <= 0 <= right[1]):
        return None
    values = [arithmetic(kind, a, b) for a in left for b in right]
    return min(values), max(values)


def inside(at_us, windows):
    return any(begin <= at_us < end for begin, end in windows)


CONNECTION_KINDS = {
    "latency", "bandwidth", "slow_close", "blackhole", "reset", "slicer", "limit_data", "loss", "refuse", "slow_accept",
    "half_open", "tls",
}


def rule_name(fault, request):
    return f"{fault['id']}@{request['caller']}>{request['service']}"


def differing(mirror):
    """Where a pair differs: path, kind, rule; values of another form are of kind `shape` too."""
    found = set()
    for path, kind, rule, *shape in mirror["differs"] if mirror else []:
        found.add((path, kind, rule))
        if shape and not shape[0]["same"]:
            found.add((path, "shape", rule))
    return found


def call(event):
    return (event["caller"], event["service"], event["ord"], event["n"], event["method"], without_query(event["path"]))


def quantity(value):
    """A bound of a graded check: `600ms`, `20%`, `1.2`, in the base unit."""
    value = Expression(str(value)).tree
    return -value[1][1] if value[0] == "negate" else value[1]


class Expression:
    """The language of checks: `p99[shop]{status: 5xx}@steady < 1.2 * p99[shop]`."""

    TOKEN = re.compile(
        r"\s*(?:(?P<number>\d+(?:\.\d+)?)(?P<unit>/s|/min|%|us|µs|ms|min|s|m|h|KiB|MiB|GiB|KB|kB|MB|GB|B)?(?![\w])"
        r"|(?P<metric>[a-zA-Z_][\w.]*(?:\[[^\]]*\](?:\.[\w.]+)?)?(?:\{[^}]*\})?(?:@[a-z0-9-]+)?)"
        r"|(?P<symbol><=|>=|==|!=|[-+*/<>(),:]))"
    )
    FACTORS = {
        **UNITS, None: 1, "%": 0.01, "/s": 1, "/min": 1 / 60, "B": 1, "KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9,
        "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
    }

    def __init__(self, text):
        self.text, self.tokens, at = text, [], 0
        text = text.rstrip()
        while at < len(text):
            # `%` is no word character: the look-ahead of the number's unit lets `1%` through.
            match = self.TOKEN.match(text, at)
            if not match:
                raise CannotRecompute(f"`{text}`: not understood from `{text[at:]}` on")
            self.tokens.append(match)
            at = match.end()
        self.tree = self.logic("or", lambda: self.logic("and", self.negation))
        if self.tokens:
            raise CannotRecompute(f"`{text}`: not understood from `{self.tokens[0][0]}` on")

    def take(self, *wanted):
        if self.tokens and self.tokens[0][0].strip() in wanted:
            return self.tokens.pop(0)[0].strip()
        return None

    def logic(self, word, part):
        left = part()
        while self.take(word):
            left = (word, left, part())
        return left

    def negation(self):
        return ("not", self.negation()) if self.take("not") else self.comparison()

    def comparison(self):
        left = self.sum()
        how = self.take("<", "<=", ">", ">=", "==", "!=")
        return ("compare", how, left, self.sum()) if how else left

    def sum(self):
        left = self.product()
        while how := self.take("+", "-"):
            left = (how, left, self.product())
        return left

    def product(self):
        left = self.sign()
        while how := self.take("*", "/"):
            left = (how, left, self.sign())
        return left

    def sign(self):
        return ("negate", self.sign()) if self.take("-") else self.primary()

    def primary(self):
        if self.take("("):
            inner = self.logic("or", lambda: self.logic("and", self.negation))
            self.take(")")
            return inner
        if self.take("time_to"):
            self.take("(")
            condition = self.logic("or", lambda: self.logic("and", self.negation))
            self.take(",")
            self.take("hold")
            self.take(":")
            hold = self.primary()
            self.take(")")
            return ("time_to", condition, round(hold[1]))
        token = self.tokens.pop(0)
        if token["number"]:
            factor = self.FACTORS[token["unit"]]
            number = float(token["number"])
            return ("literal", number / 100 if token["unit"] == "%" else number * factor)
        return ("metric", self.parsed(token["metric"]))

    @staticmethod
    def parsed(text):
        parts = re.fullmatch(r"([\w.]+)(?:\[([^\]]*)\](?:\.([\w.]+))?)?(?:\{([^}]*)\})?(?:@(.+))?", text)
        name = parts[1] + (f".{parts[3]}" if parts[3] else "")
        conditions = {}
        for one in filter(None, (parts[4] or "").split(",")):
            key, value = one.split(":", 1)
            conditions[key.strip()] = value.strip().strip('"')

        def keep(request):
            status, wanted = request["status"], conditions.get("status")
            if wanted and (status is None or not (str(status) == wanted or (wanted.endswith("xx") and str(status)[0] == wanted[0]))):
                return False
            if "method" in conditions and request["method"].upper() != conditions["method"].upper():
                return False
            return "path" not in conditions or glob(conditions["path"], without_query(request["path"]))

        return name, (parts[2] or "").strip(), keep if conditions else None, parts[5]


# ---------------------------------------------------------------------------------------------- main


# Disagreements of one kind that are printed; all are counted.
SHOWN = 5


def recompute(folder):
    run = Run(folder)
    run.recompute_faults()
    run.recompute_samples()
    run.recompute_tables()
    run.recompute_generator()
    run.recompute_diffs()
    run.recompute_checks()
    return run


def main(folders):
    if not folders:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    worst = 0
    for folder in folders:
        try:
            run = recompute(folder)
        except (CannotRecompute, FileNotFoundError) as why:
            print(f"{folder}: cannot be recomputed: {why}", file=sys.stderr)
            worst = max(worst, 2) if worst != 1 else 1
            continue
        total = sum(run.compared.values())
        if run.wrong:
            worst = 1
            shown = Counter()
            for wrong in run.wrong:
                kind = " ".join(wrong.split(" ", 2)[:2])
                shown[kind] += 1
                if shown[kind] <= SHOWN:
                    print(f"{folder}: {wrong}")
            print(f"{folder}: {len(run.wrong)} disagreements in {total} comparisons")
        else:
            summary = ", ".join(f"{count} {what}" for what, count in run.compared.most_common())
            print(f"{folder}: {total} comparisons agree: {summary}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
