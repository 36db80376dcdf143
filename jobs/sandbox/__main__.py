"""Reads the command line of the practice API and runs it."""

import argparse
import asyncio
import base64
import binascii
import logging
import math
import os
import sqlite3
import sys
from datetime import date
from pathlib import Path

from jobs.sandbox.app import serve
from jobs.sandbox.directives import check_webhook_fault

# A minute of the API passes in a second: 99.9 % of high-effort draws then end within half a minute.
DEFAULT_SPEED = 60.0


def main() -> int:
    """Run the sandbox; return 0 after a stop, 1 when it cannot start."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="sandbox: %(message)s")
    try:
        asyncio.run(
            serve(
                host=args.host,
                port=args.port,
                data=args.data,
                speed=args.speed,
                webhook_url=args.webhook_url,
                webhook_secret=args.webhook_secret,
                webhook_fault=args.webhook_fault,
                today=args.today,
            )
        )
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.sandbox", description="A practice Responses API.")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.sqlite3")
    parser.add_argument(
        "--speed", type=_speed, default=DEFAULT_SPEED, help="1 to 1000 times the real clock (default 60)"
    )
    # By default from the environment: command lines can be read by everyone on the machine.
    parser.add_argument("--webhook-url", default=os.environ.get("SANDBOX_WEBHOOK_URL"))
    parser.add_argument(
        "--webhook-secret",
        type=_secret,
        default=os.environ.get("SANDBOX_WEBHOOK_SECRET", ""),
        metavar="whsec_BASE64",
    )
    parser.add_argument(
        "--webhook-fault",
        type=check_webhook_fault,
        metavar="FAULT[,FAULT]",
        help="drop, duplicate, reorder or delay:SECONDS, for every event",
    )
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="the day that chooses prices, shutdowns and days of the bill",
    )
    return parser


def _speed(text: str) -> float:
    speed = float(text)
    if not math.isfinite(speed) or not 1 <= speed <= 1000:
        raise ValueError("out of range")
    return speed


def _secret(text: str) -> str:
    try:
        base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    return text


if __name__ == "__main__":
    sys.exit(main())
