"""Measures how many polls a second one sandbox process answers: `python -m tests.bench.sandbox_gets`.

This process is the client, over a handful of kept connections; on a shared machine both count.
"""

import argparse
import asyncio
import random
import time

import aiohttp

from tests.sandbox_process import SandboxProcess

HEADERS = {"Authorization": "Bearer sk-practice"}


async def measure(base_url: str, *, responses: int, connections: int, seconds: float) -> tuple[float, float]:
    """Return GETs a second and their median latency in milliseconds."""
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:
        ids = []
        for number in range(responses):
            body = {
                "model": "o3-pro",
                "background": True,
                # Half of them have ended: their bodies carry an essay.
                "input": f"Poll me {number} [[sandbox: seconds={600 * (number % 2)}]]",
            }
            async with session.post(f"{base_url}/responses", json=body) as answer:
                ids.append((await answer.json())["id"])
        latencies: list[float] = []
        stop_at = time.perf_counter() + seconds

        async def poll() -> None:
            while (began := time.perf_counter()) < stop_at:
                async with session.get(f"{base_url}/responses/{random.choice(ids)}") as answer:
                    await answer.read()
                    assert answer.status == 200
                latencies.append(time.perf_counter() - began)

        await asyncio.gather(*(poll() for _ in range(connections)))
        return len(latencies) / seconds, sorted(latencies)[len(latencies) // 2] * 1000


def main() -> None:
    """Start a sandbox, poll it and print the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--responses", type=int, default=500)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    with SandboxProcess().start(speed=60, today="2026-11-30") as sandbox:
        rate, median = asyncio.run(
            measure(
                sandbox.base_url,
                responses=args.responses,
                connections=args.connections,
                seconds=args.seconds,
            )
        )
    print(f"{rate:,.0f} GETs/s over {args.connections} connections, median {median:.1f} ms")


if __name__ == "__main__":
    main()
