"""A local Oracle Cloud that the real SDK, and other people's clients, talk to.

It verifies every signature, has the service's error documents, and goes wrong on demand. What it
knows of the real service's behaviour stands beside each handler with where it was read; what nobody
documents is marked as assumed. `python -m tests.cloud` (`make cloud`) starts it for a person.
"""
