"""What Ponder does."""

VERSION = "0.1.0"
