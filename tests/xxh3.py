#!/usr/bin/env python3
"""XXH3, 64 bits, in plain Python (standard library only), and the draws that meshbed's contract builds on it.

Written from the specification of xxHash (doc/xxhash_spec.md, XXH3), sharing no code with the Rust side. Run as a
program it checks itself: against vectors, and against the package `xxhash` where that can be imported.
"""

import struct

M64 = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PMX_1, PMX_2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def le32(data, at=0):
    return struct.unpack_from("<I", data, at)[0]


def le64(data, at=0):
    return struct.unpack_from("<Q", data, at)[0]


def swap32(x):
    return struct.unpack("<I", struct.pack(">I", x))[0]


def swap64(x):
    return struct.unpack("<Q", struct.pack(">Q", x))[0]


def rotl(x, bits):
    return ((x << bits) | (x >> (64 - bits))) & M64


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def xxh64_avalanche(h):
    h ^= h >> 33
    h = h * P64_2 & M64
    h ^= h >> 29
    h = h * P64_3 & M64
    return h ^ (h >> 32)


def avalanche(h):
    h ^= h >> 37
    h = h * PMX_1 & M64
    return h ^ (h >> 32)


def short(data, seed):
    n = len(data)
    if n == 0:
        return xxh64_avalanche(seed ^ le64(SECRET, 56) ^ le64(SECRET, 64))
    if n <= 3:
        combined = (data[n - 1]) | (n << 8) | (data[0] << 16) | (data[n >> 1] << 24)
        flip = ((le32(SECRET, 0) ^ le32(SECRET, 4)) + seed) & M64
        return xxh64_avalanche(combined ^ flip)
    if n <= 8:
        seed ^= swap32(seed & 0xFFFFFFFF) << 32
        flip = ((le64(SECRET, 8) ^ le64(SECRET, 16)) - seed) & M64
        value = flip ^ (le32(data, n - 4) + (le32(data, 0) << 32))
        value ^= rotl(value, 49) ^ rotl(value, 24)
        value = value * PMX_2 & M64
        value ^= (value >> 35) + n
        value = value * PMX_2 & M64
        return value ^ (value >> 28)
    flip_low = ((le64(SECRET, 24) ^ le64(SECRET, 32)) + seed) & M64
    flip_high = ((le64(SECRET, 40) ^ le64(SECRET, 48)) - seed) & M64
    low = le64(data, 0) ^ flip_low
    high = le64(data, n - 8) ^ flip_high
    return avalanche((n + swap64(low) + high + fold(low, high)) & M64)


def mix16(data, at, secret, seed):
    low = le64(data, at) ^ ((le64(SECRET, secret) + seed) & M64)
    high = le64(data, at + 8) ^ ((le64(SECRET, secret + 8) - seed) & M64)
    return fold(low, high)


def medium(data, seed):
    n = len(data)
    acc = n * P64_1 & M64
    if n <= 128:
        rounds = (n - 1) >> 5
        for i in range(rounds, -1, -1):
            acc += mix16(data, 16 * i, 32 * i, seed)
            acc += mix16(data, n - 16 * (i + 1), 32 * i + 16, seed)
        return avalanche(acc & M64)
    for i in range(8):
        acc += mix16(data, 16 * i, 16 * i, seed)
    acc = avalanche(acc & M64)
    for i in range(8, n // 16):
        acc += mix16(data, 16 * i, 16 * (i - 8) + 3, seed)
    acc += mix16(data, n - 16, 136 - 17, seed)
    return avalanche(acc & M64)


def long(data, seed):
    n = len(data)
    secret = SECRET
    if seed:
        parts = []
        for i in range(0, 192, 16):
            parts.append(struct.pack("<Q", (le64(SECRET, i) + seed) & M64))
            parts.append(struct.pack("<Q", (le64(SECRET, i + 8) - seed) & M64))
        secret = b"".join(parts)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]

    def accumulate(at, of):
        for lane in range(8):
            value = le64(data, at + 8 * lane)
            key = value ^ le64(secret, of + 8 * lane)
            acc[lane ^ 1] = (acc[lane ^ 1] + value) & M64
            acc[lane] = (acc[lane] + (key & 0xFFFFFFFF) * (key >> 32)) & M64

    per_block = (len(secret) - 64) // 8
    block = 64 * per_block
    blocks = (n - 1) // block
    for b in range(blocks):
        for s in range(per_block):
            accumulate(b * block + 64 * s, 8 * s)
        for lane in range(8):
            value = acc[lane]
            value ^= value >> 47
            value ^= le64(secret, len(secret) - 64 + 8 * lane)
            acc[lane] = value * P32_1 & M64
    for s in range(((n - 1) - block * blocks) // 64):
        accumulate(blocks * block + 64 * s, 8 * s)
    accumulate(n - 64, len(secret) - 64 - 7)
    result = n * P64_1 & M64
    for i in range(4):
        result += fold(acc[2 * i] ^ le64(secret, 11 + 16 * i), acc[2 * i + 1] ^ le64(secret, 11 + 16 * i + 8))
    return avalanche(result & M64)


def xxh3_64(data, seed=0):
    """XXH3 of these bytes with this seed."""
    if len(data) <= 16:
        return short(data, seed)
    if len(data) <= 240:
        return medium(data, seed)
    return long(data, seed)


def rule(seed, name):
    """The source of a rule's draws: `ID@CALLER>SERVICE` of a fault, `sample`, `...#amount`."""
    return xxh3_64(name.encode(), seed)


def unit(h, key):
    """A draw in [0, 1) for these bytes."""
    return (xxh3_64(key, h) >> 11) * 2.0**-53


def key(ordinal, n=0, attempt=0, method="", path=""):
    """The bytes that a request's draw is keyed by."""
    return struct.pack("<QII", ordinal, n, attempt) + f"{method} {path}".encode()


def self_test():
    # From xxHash's own sanity checks: empty input without and with a seed.
    assert xxh3_64(b"") == 0x2D06800538D394C2
    assert xxh3_64(b"", 0x9E3779B185EBCA8D) == 0xA8A6B918B2F0364A
    try:
        import xxhash
    except ImportError:
        print("xxh3: empty inputs agree; the package xxhash is not there to compare the rest with")
        return
    import random

    chance = random.Random(1)
    lengths = list(range(0, 300)) + [511, 512, 513, 1023, 1024, 1025, 1087, 1088, 1089, 2048, 5000]
    for n in lengths:
        data = chance.randbytes(n)
        for seed in (0, 1, 7, 32570, 0x9E3779B185EBCA8D, M64):
            ours, theirs = xxh3_64(data, seed), xxhash.xxh3_64_intdigest(data, seed)
            assert ours == theirs, f"{n} bytes, seed {seed}: {ours:x}, xxhash says {theirs:x}"
    print(f"xxh3: {len(lengths)} lengths x 6 seeds agree with the package xxhash {xxhash.VERSION}")


if __name__ == "__main__":
    self_test()
