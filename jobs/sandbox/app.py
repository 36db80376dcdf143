"""Puts the sandbox together: routes, and the life of its process."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

from aiohttp import web

from jobs.sandbox import account, control, responses
from jobs.sandbox.server import SERVER, Server, gate
from jobs.sandbox.store import Store
from jobs.sandbox.webhooks import Sender

MAX_BODY = 512 * 1024**2  # bytes; the API's own limit for a request with files
SHUTDOWN = 0.3  # seconds for answers on their way; then connections are closed


def make(server: Server) -> web.Application:
    """Return the application that serves this sandbox."""
    app = web.Application(middlewares=[gate], client_max_size=MAX_BODY)
    app[SERVER] = server
    app.add_routes(
        [
            # A poll is by far the most frequent request; the router tries routes in this order.
            web.get("/v1/responses/{id}", responses.retrieve),
            web.post("/v1/responses", responses.create),
            web.post("/v1/responses/input_tokens", responses.count_input),
            web.post("/v1/responses/{id}/cancel", responses.cancel),
            web.delete("/v1/responses/{id}", responses.delete),
            web.get("/v1/responses/{id}/input_items", responses.input_items),
            web.get("/v1/models", account.list_models),
            web.get("/v1/models/{model}", account.retrieve_model),
            web.get("/v1/organization/costs", account.costs),
            web.get("/healthz", control.healthz),
            web.post("/sandbox/faults", control.set_faults),
            web.post("/sandbox/reset", control.reset),
            web.post("/sandbox/bill", control.change_bill),
            web.get("/sandbox/log", control.log),
            web.get("/sandbox/stats", control.stats),
            web.get("/openai/v1/responses/{id}", responses.retrieve),
            web.post("/openai/v1/responses", responses.create),
            web.post("/openai/v1/responses/input_tokens", responses.no_count),
            web.post("/openai/v1/responses/{id}/cancel", responses.cancel),
            web.delete("/openai/v1/responses/{id}", responses.delete),
            web.get("/openai/v1/responses/{id}/input_items", responses.input_items),
            web.get("/openai/v1/models", account.list_models),
        ]
    )
    app.cleanup_ctx.append(_deliver_events)
    return app


async def serve(
    *,
    host: str,
    port: int,
    data: Path,
    speed: float,
    webhook_url: str | None,
    webhook_secret: str,
    webhook_fault: str | None,
    today: date | None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints `ready URL` when listening (port 0 takes a free one).

    Raises:
        OSError: the port is taken or the file cannot be written.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    store = Store(data)
    sender = Sender(store, url=webhook_url, secret=webhook_secret, fault=webhook_fault)
    app = make(Server(store=store, sender=sender, speed=speed, today=today))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=1024).start()
        bound = runner.addresses[0][1]
        sys.stdout.write(f"ready http://{host}:{bound}/v1\n")
        sys.stdout.flush()
        await stopped.wait()
    finally:
        await runner.cleanup()
        store.close()


async def _deliver_events(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[SERVER].sender.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
