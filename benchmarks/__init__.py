"""Ratios against named peers, one script each; every script ends with one line of JSON."""
