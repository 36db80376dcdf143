"""Says how long a page that can change by itself waits before it asks for news."""

# Seconds between a page's questions while what it shows took its last step less than so many seconds ago.
INTERVALS = ((30, 3), (300, 5))
SLOWEST = 15


def wait(age: float) -> int:
    """Return the seconds until a page asks again; its newest step is `age` seconds old."""
    return next((seconds for limit, seconds in INTERVALS if age < limit), SLOWEST)
