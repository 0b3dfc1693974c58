"""Verdicts in words, each with its figure, by rules. Nothing here imports TensorFlow.

1. A method fails if the HOG correlation of its maps with those of a model whose upper half is random exceeds that of
   plain gradients by 0.15 or more on average, as printed; without gradients, if it is 1/3 or more.
2. By each measure of COMPARED it is better than an edge detector, or worse, if the interval of the paired difference
   does not contain 0, at the two digits that are printed, and no better otherwise.
3. Where objects are known, the same for the evidence on the object, against a Gaussian in the middle.
4. It is unstable if imperceptible noise changes its maps by their own norm or more.
5. It does not depend on the class if its maps of a random class have a rank correlation of 0.9 or more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kerasxai.audit.intervals import Interval, difference, mean_interval
from kerasxai.audit.measures import COMPARED, MEASURES

INSANE = 1 / 3
MARGIN = 0.15
SAME_RANKS = 0.5
"""Limits of rule 1, as in `kerasxai.metrics.sanity.checks`, which imports TensorFlow."""
DIGITS = 2
"""Of printed intervals, which are judged as they are printed: a difference of 0.001 that is sure decides nothing."""
UNSTABLE = 1.0
SAME_CLASS = 0.9
EDGES, GAUSSIAN = "edges", "centered_gaussian"
WORDS = {
    "random": "a random map",
    "constant": "a constant map",
    GAUSSIAN: "a centered Gaussian",
    EDGES: "an edge detector",
    "object": "the true object",
}
STATUSES = ("fails", "no better", "mixed", "better")
"""From the worst to the best: fails rule 1; better than an edge detector by none, some or all measures."""

Values = Mapping[str, Mapping[str, Any]]
"""Measure -> figures with `values` by image."""


@dataclass(frozen=True)
class Verdict:
    """A verdict about one method.

    Attributes:
        status: A name of STATUSES; `"not compared"` if no measure compares it.
        sentences: The reasons, each with its figure.
        differences: Measure -> interval of the difference to the reference, positive where the method is better.
    """

    status: str
    sentences: list[str]
    differences: dict[str, Interval]


def verdict(figures: Values, references: Mapping[str, Values], seed: int = 0) -> Verdict:
    """Return the verdict about a method.

    Args:
        figures: Of the method.
        references: Of the reference maps, by name.
        seed: Of the bootstrap.
    """
    sentences: list[str] = []
    insane = _sanity(figures, sentences)
    differences: dict[str, Interval] = {}
    for measure in (*COMPARED, "localization"):
        reference = GAUSSIAN if measure == "localization" else EDGES
        if measure not in figures or measure not in references.get(reference, {}):
            continue
        two = references[reference][measure]["values"]
        found = difference(figures[measure]["values"], two, MEASURES[measure].sign, seed)
        if found["value"] is not None:
            differences[measure] = found
            by = "evidence on the object" if measure == "localization" else MEASURES[measure].heading
            sentences.append(f"{_rank(found)} {WORDS[reference]} by {by}: difference {shown(found, signed=True)}")
    _warnings(figures, sentences)
    compared = [_rank(found) == "better than" for measure, found in differences.items() if measure in COMPARED]
    if insane:
        status = "fails"
    elif not compared:
        status = "not compared"
    else:
        status = "better" if all(compared) else "mixed" if any(compared) else "no better"
    return Verdict(status, sentences, differences)


def is_insane(figures: Values) -> bool:
    """Return whether the maps of a method hardly depend on the model, by rule 1."""
    found = sanity_of(figures)
    return found is not None and found.is_insane


class Sanity(NamedTuple):
    """The figure of rule 1.

    Attributes:
        similarity: HOG correlation of the maps once the upper half is random; of methods that only see scores the rank
            correlation.
        control: That of plain gradients; None without them.
        excess: What is compared with the limit.
        limit: See `MARGIN`, `INSANE` and `SAME_RANKS`.
        kind: `"hog"` or `"spearman"`.
    """

    similarity: Interval
    control: Interval | None
    excess: Interval
    limit: float
    kind: str = "hog"

    @property
    def is_insane(self) -> bool:
        """Whether the maps hardly depend on the model."""
        value = self.excess["value"]
        return value is not None and round(value, DIGITS) >= self.limit

    @property
    def is_near_limit(self) -> bool:
        """Whether that is not sure, because the interval contains the limit."""
        low, high = self.excess["low"], self.excess["high"]
        if low is None or high is None:
            return False
        return round(low, DIGITS) < self.limit <= round(high, DIGITS)


def sanity_of(figures: Values) -> Sanity | None:
    """Return the figure of rule 1; None if it was not measured."""
    if "sanity" not in figures:
        return None
    values, control = figures["sanity"]["values"], figures["sanity"].get("control")
    similarity = mean_interval(values)
    if figures["sanity"].get("similarity") == "spearman":
        return Sanity(similarity, None, similarity, SAME_RANKS, "spearman")
    if control is None:
        return Sanity(similarity, None, similarity, INSANE)
    return Sanity(similarity, mean_interval(control), difference(values, control), MARGIN)


def _sanity(figures: Values, sentences: list[str]) -> bool:
    found = sanity_of(figures)
    if found is None or found.similarity["value"] is None:
        return False
    sign = ">=" if found.is_insane else "<"
    if found.control is None or found.control["value"] is None:
        kind = "rank correlation " if found.kind == "spearman" else ""
        figure = f"{kind}{found.similarity['value']:.2f} {sign} {found.limit:.2f}"
    else:
        figure = (
            f"{found.similarity['value']:.2f}, plain gradients {found.control['value']:.2f}: difference "
            f"{found.excess['value']:+.2f} {sign} {found.limit:.2f}"
        )
    start = "fails: same" if found.is_insane else "depends on the model: other"
    sentences.append(f"{start} maps after the upper half of the network is random ({figure})")
    if found.is_near_limit:
        sentences.append(f"close to the limit of that check: interval {shown(found.excess)}; audit more images")
    return found.is_insane


def _warnings(figures: Values, sentences: list[str]) -> None:
    if "stability" in figures:
        found = mean_interval(figures["stability"]["values"])
        if found["value"] is not None and found["value"] >= UNSTABLE:
            sentences.append(f"unstable: noise of 2 % of the range changes a map by {found['value']:.1f} of its norm")
    if "random_class" in figures:
        found = mean_interval(figures["random_class"]["values"])
        if found["value"] is not None and found["value"] >= SAME_CLASS:
            sentences.append(f"same maps for another class: rank correlation {shown(found)}")


def _rank(found: Interval) -> str:
    assert found["low"] is not None and found["high"] is not None
    if is_better(found):
        return "better than"
    return "worse than" if round(found["high"], DIGITS) < 0 else "no better than"


def is_better(found: Interval) -> bool:
    """Return whether the printed interval of a difference is above 0."""
    return found["low"] is not None and round(found["low"], DIGITS) > 0


def shown(found: Interval, signed: bool = False) -> str:
    """Return an interval as text.

    Example:
        >>> shown({"value": 0.01, "low": -0.02, "high": 0.03, "images": 9}, signed=True)
        '+0.01 [-0.02, +0.03]'
    """
    if found["value"] is None:
        return "-"
    plus = "+z" if signed else "z"  # z: no minus before a zero.
    return f"{found['value']:{plus}.{DIGITS}f} [{found['low']:{plus}.{DIGITS}f}, {found['high']:{plus}.{DIGITS}f}]"


def joined(names: Sequence[str]) -> str:
    """Return names as words of a sentence.

    Example:
        >>> joined(["a", "b", "c"])
        'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
