"""Sizes as people write them. Imports nothing that is slow to import."""

import re

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_in(text: str) -> int | None:
    """`500MB`, `2GiB` or a number of bytes; None where it is none of these."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
    if not found or found[2].upper() not in UNITS:
        return None
    return int(float(found[1]) * UNITS[found[2].upper()])
