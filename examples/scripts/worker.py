#!/usr/bin/env python3
"""Three workers drain a queue through the command `khala` alone: python3 worker.py [STORE]

The same as workers.sh, with JSON instead of text. It needs nothing but the standard library.
"""

import json
import subprocess
import sys
from threading import Thread

STORE = sys.argv[1] if len(sys.argv) > 1 else "workers.khala"
NOTHING_TO_CLAIM = 3


def khala(*arguments, text=None):
    """What the command prints, one object a line; None where the answer is no."""
    command = ["khala", "--store", STORE, "--json", "--lock-wait", "1m", *arguments]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode == NOTHING_TO_CLAIM:
        return None
    done.check_returncode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def work(name, failures):
    """Takes tasks until there are none."""
    try:
        while claimed := khala("claim", "--agent", name, "--role", "calculator"):
            [claim] = claimed
            number = int(claim["task"]["instruction"].split()[1])
            answer = f"{number} squared is {number * number}"
            # The answer goes through the standard input: one of a model can be long and begin with anything.
            if khala("complete", claim["task"]["id"], claim["id"], "--say", "-", text=answer) is None:
                print(f"{name}: the claim was taken away, so the answer is not wanted", file=sys.stderr)
    except Exception as failure:
        failures.append(f"{name}: {failure}")


khala("init")
[thread] = khala("thread", "new", "squares", "--initiator", "worker.py")
for number in range(1, 13):
    khala("task", "add", thread["id"], "--role", "calculator", f"square {number}")

failures = []
workers = [Thread(target=work, args=(name, failures)) for name in ("ada", "bob", "eve")]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
if failures:
    sys.exit("\n".join(failures))

khala("finish", thread["id"], "completed")
for message in khala("thread", thread["id"]):
    print(message["agent_id"], message["content"], sep=": ")
