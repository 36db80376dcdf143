"""Run a supervisor over toy programs in a process of its own, since signals are for processes.

The argument is a JSON list of {"name", "shell", "stop_seconds", "pulse", "busy", "wanted", "is_vital"}, where
`pulse` is a file that is touched as a sign of life, `busy` one that exists while the toy must not be killed,
and `wanted` one that exists while it is to be started.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

from o3site import datadir
from o3site.supervisor import Child, Pulse, Supervisor


def say(line: str) -> None:
    # One write, or what a toy prints at the same time gets between a line and its end.
    os.write(1, f"{line}\n".encode())


def main() -> None:
    supervisor = Supervisor(say=say)
    children = []
    for toy in json.loads(sys.argv[1]):
        pulse = None
        if "pulse" in toy:
            sign = partial(datadir.touched, Path(toy["pulse"]))
            pulse = Pulse(last=sign, silence=0.4, first_silence=0.4)
        children.append(
            Child(
                name=toy["name"],
                command=["/bin/sh", "-c", toy["shell"]],
                environment=dict(os.environ),
                directory=Path("/"),
                stop_seconds=toy.get("stop_seconds", 5.0),
                is_busy=Path(toy.get("busy", "/none")).exists,
                is_wanted=Path(toy.get("wanted", "/")).exists,
                ask_every=0.05,
                pulse=pulse,
                pause=0.01,
                is_vital=toy.get("is_vital", True),
            )
        )
        supervisor.add(children[-1])
    say("supervising")
    supervisor.run()
    supervisor.stop(reversed(children))
    sys.exit(supervisor.failure or 0)


main()
