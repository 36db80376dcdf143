"""Prompts that ask the practice API for every end and every fault it knows."""

import random

# How often each comes among a hundred jobs, and what it asks for; {s} are seconds upstream. What the
# first POST meets a second does not (times=1), so that a job that is sent again can end.
MIX = (
    (42, "seconds={s} outcome=completed"),
    (4, "seconds={s} outcome=incomplete reason=max_output_tokens"),
    (2, "seconds={s} outcome=incomplete reason=content_filter"),
    (1, "seconds={s} outcome=incomplete reason=max_messages"),
    (1, "seconds={s} outcome=incomplete reason=steered"),
    (3, "seconds={s} outcome=refusal"),
    (3, "seconds={s} outcome=failed code=server_error times=1"),
    (2, "seconds={s} outcome=failed code=invalid_prompt"),
    (2, "seconds={s} outcome=failed code=server_error usage=none"),
    (2, "seconds={s} outcome=completed usage=none"),
    (2, "seconds={s} outcome=completed late_usage=8"),
    (2, "seconds={s} outcome=cancelled"),
    (1, "outcome=stuck"),  # it is cancelled
    (2, "seconds={s} outcome=function_call"),
    (1, "seconds={s} outcome=function_call calls=2 approvals=1"),
    (2, "seconds={s} status=musing"),
    (1, "seconds={s} tier=default"),  # of one that the model does not sell, bill and guess differ on purpose
    (3, "seconds={s} missing=6"),
    (2, "seconds={s} cancel=ignored"),
    (2, "seconds=60 cancelled_then=completed after=4"),
    (2, "seconds={s} fault=reset_before times=1"),
    (2, "seconds={s} fault=reset_after times=1"),
    (2, "seconds={s} fault=garbage times=1"),
    (2, "seconds={s} fault=hang hang=5 times=1"),
    (2, "seconds={s} http=429 retry_after=1 times=1"),
    (2, "seconds={s} http=503 retry_after=1 times=1"),
    (2, "seconds={s} http=500 times=1"),
    (1, "seconds={s} http=502 times=1"),
    (1, "seconds={s} http=408 times=1"),
    (1, "seconds={s} http=409 times=1"),
    (1, "seconds={s} http=401 times=1"),
    (1, "seconds={s} http=429_quota times=1"),
    (1, "seconds={s} http=307 times=1"),
    (1, "seconds={s} http=404_plain times=1"),
    (1, "seconds={s} http=403_plain times=1"),
    (1, "seconds={s} http=405 times=1"),
    (1, "seconds={s} http=404"),
    (1, "seconds={s} http=400"),
    (1, "seconds={s} http=403"),
    (2, "seconds={s} webhook=drop"),
    (2, "seconds={s} webhook=duplicate"),
    (2, "seconds={s} webhook=reorder,delay:2"),
)


def prompt(number: int, rng: random.Random) -> str:
    """Return the prompt of a job, unlike any other."""
    weights = [weight for weight, _ in MIX]
    asked = rng.choices([words for _, words in MIX], weights)[0]
    seconds = round(rng.lognormvariate(1.2, 0.9), 1)
    return f"Drill {number}: what is {rng.randrange(10**9)} modulo 97? [[sandbox: {asked.format(s=seconds)}]]"
