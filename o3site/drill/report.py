"""Says in lines what a drill did and found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from o3site.drill.accounts import Charged, Invariant

if TYPE_CHECKING:
    from o3site.drill.running import Drill

SHOWN = 20  # of what breaks an invariant


def lines(
    drill: "Drill",
    found: Sequence[Invariant],
    charges: Sequence[Charged],
    ends: Mapping[str, int],
    seconds: float,
) -> Iterator[str]:
    """Yield the kills with how soon work went on, the ends, the other charges and the invariants."""
    yield f"{len(drill.submitted)} jobs and {drill.outages} outages in {seconds:.0f} s. Killed:"
    for kind, took in sorted(drill.kills.items()):
        yield f"  {kind:<18} {len(took):>3}   work went on after {max(took):.1f} s at most"
    yield f"  {'together':<18} {sum(map(len, drill.kills.values())):>3}"
    yield "Ends: " + ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
    if charges:
        yield "Charged on another basis than usage, beside its bill (USD):"
        for one in charges:
            name = one.response_id or "(not known)"
            yield f"  {name:<40} {one.basis:<9} {one.charged:>14f} {one.billed:>14f}"
    for invariant in found:
        yield f"{'✗' if invariant.broken else '✓'} {invariant.sentence} ({invariant.looked_at} looked at)"
        yield from (f"    {one}" for one in invariant.broken[:SHOWN])
