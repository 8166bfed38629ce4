"""Times as users write them."""


def parse_time(text: str) -> float:
    """Seconds of a time such as `90`, `1:30` or `0:01:30.5`.

    Raises:
        ValueError: the text is not a time.
    """
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
