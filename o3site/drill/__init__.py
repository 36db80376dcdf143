"""The drill: an installation of its own, every fault on, processes killed at random, then the accounts."""
