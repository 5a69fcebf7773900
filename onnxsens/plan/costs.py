"""What a plan costs, counted: zeros, MACs. Never a speed-up: that is measured or not claimed."""


def remaining_macs(macs: int, size: int, zeros: int) -> int:
    """MACs by the elements that are left: each element of a weight is used equally often."""
    return macs * (size - zeros) // size
