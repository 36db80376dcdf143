"""Turns samples into the lines that every bench prints, with a hint at how noisy the machine was."""

import os
import time
from collections.abc import Sequence


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which `share` (0 to 1) of them lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def line(name: str, samples: Sequence[float], unit: str, target: str = "") -> str:
    """Return one row: n, min, p50, p95 and max, and the figure to reach."""
    if not samples:
        return f"{name:<44} n=0"
    p50, p95 = quantile(samples, 0.5), quantile(samples, 0.95)
    figures = f"min {min(samples):8.2f}  p50 {p50:8.2f}  p95 {p95:8.2f}  max {max(samples):8.2f} {unit}"
    return f"{name:<44} n={len(samples):<5} {figures}{f'   ({target})' if target else ''}"


def noise() -> str:
    """Return what else the machine was doing: load, and how long a fixed piece of work took, five times."""
    spins = []
    for _ in range(5):
        began = time.perf_counter()
        sum(number * number for number in range(1_000_000))
        spins.append((time.perf_counter() - began) * 1000)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    least, most = min(spins), max(spins)
    return f"noise: load {load} on {os.cpu_count()} cores; a million squares took {least:.0f}-{most:.0f} ms"
