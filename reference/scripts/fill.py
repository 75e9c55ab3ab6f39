"""Values that need no storing: weights, inputs and random signs as a formula of (name, index).

`osteon_reference::golden` is the same in Rust, bit for bit; its tests hold values that this file printed. Every step is exact or
one rounding of IEEE double precision, so any machine gives the same bits.
"""

import math

import numpy as np

PROJECTIONS = 64
SAMPLES = 256


def hash_name(name: str) -> int:
    """FNV-1a, 64 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def bits(name: str, start: int, stop: int) -> np.ndarray:
    """Entries start..stop of the SplitMix64 stream whose state begins at the name's hash."""
    with np.errstate(over="ignore"):
        z = np.uint64(hash_name(name)) + np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fill(name: str, shape, centre: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """f32 uniform in centre +- scale: odd multiples of 2^-23, so that no two neighbours of a window tie at zero."""
    top = (bits(name, 0, math.prod(shape)) >> np.uint64(41)).astype(np.int64)
    uniform = (2 * top + 1 - (1 << 23)).astype(np.float64) / (1 << 23)
    return (centre + scale * uniform).astype(np.float32).reshape(shape)


def parameter(name: str, shape) -> np.ndarray:
    """A plausible value for the parameter or running statistic of that name, in PyTorch's shape."""
    if len(shape) == 4:  # convolution: the variance of He normal, fan out
        centre, scale = 0.0, math.sqrt(6.0 / (shape[0] * shape[2] * shape[3]))
    elif len(shape) == 2:  # linear: PyTorch's default
        centre, scale = 0.0, math.sqrt(1.0 / shape[1])
    elif name.endswith("running_var"):
        centre, scale = 1.0, 0.5
    elif name.endswith("running_mean"):
        centre, scale = 0.0, 0.25
    elif name.endswith("weight"):  # batch norm
        centre, scale = 1.0, 0.25
    else:
        centre, scale = 0.5, 0.25
    return fill(name, shape, centre, scale)


def images(name: str, shape) -> np.ndarray:
    """Network inputs, (N, 1, rows, columns): a grid of 8x8 grey patches, each image its own and brighter than the last, plus noise."""
    n, _, rows, columns = shape
    patches = fill(name + ".patches", (n, 1, 8, 8), 0.0, 3.0).astype(np.float64)
    patches = patches[:, :, np.arange(rows) * 8 // rows][:, :, :, np.arange(columns) * 8 // columns]
    brightness = np.arange(1, n + 1).reshape(n, 1, 1, 1)
    return (brightness * (patches + fill(name, shape))).astype(np.float32)


def sample_indices(length: int) -> np.ndarray:
    """SAMPLES indices spread over 0..length."""
    return np.arange(SAMPLES) * length // SAMPLES


def projections(name: str, values: np.ndarray) -> np.ndarray:
    """Sums of the values under PROJECTIONS pseudo-random signs: bit j of entry i, set for plus, is the sign of value i in sum j."""
    values, chunk = values.reshape(-1).astype(np.float64), 1 << 16
    total = np.zeros(PROJECTIONS)
    for start in range(0, len(values), chunk):
        part = values[start : start + chunk]
        z = bits("projections of " + name, start, start + len(part))
        plus = np.unpackbits(z.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        total += (2.0 * plus - 1.0).T @ part
    return total


if __name__ == "__main__":
    print("the constants in the tests of reference/src/golden.rs:")
    print([hex(z) for z in bits("conv1.weight", 0, 3)])
    print(fill("conv1.weight", (4,), 1.0, 0.25).tolist())
    print([float(parameter("x.weight", s).reshape(-1)[5]) for s in [(8, 3, 3, 3), (4, 64), (16,)]])
    print(projections("x", fill("x", (1000,)))[[0, 1, 63]].tolist())
