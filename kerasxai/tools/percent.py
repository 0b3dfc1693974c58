"""Shares as texts, in the one form that tables, pictures, pages and messages have."""


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a text, with a space before the sign.

    Args:
        share: 0.5 for half.
        digits: After the decimal point.

    Example:
        >>> percent(0.73), percent(0.0234, 1)
        ('73 %', '2.3 %')
    """
    return f"{share:.{digits}%}".replace("%", " %")
