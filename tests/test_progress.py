"""Progress of long calls: plain lines where stderr is a file, by a clock that tests set."""

import pytest

from kerasxai.tools.progress import Bar


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def worked(seconds: float, total: int, clock: Clock, **options: object) -> None:
    with Bar(total, "localizing", clock=clock, **options) as bar:  # type: ignore[arg-type]
        for _ in range(total):
            clock.now += seconds
            bar.advance(1)


def test_a_file_gets_a_line_every_30_seconds_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    worked(4.1, 277, Clock())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "localizing: 8 of 277 images, 4.1 s an image, about 18 min left"
    assert lines[1] == "localizing: 16 of 277 images, 4.1 s an image, about 18 min left"
    assert lines[-1] == "localizing: 277 images in 19 min"
    assert len(lines) == 277 // 8 + 1


@pytest.mark.parametrize(
    ("seconds", "total", "options", "expected"),
    [
        (2.9, 10, {}, []),
        (31, 1, {}, ["localizing: 1 image in 31 s"]),
        (0.25, 160, {}, ["localizing: 120 of 160 images, 4 images a second, about 10 s left"]),
        (40, 2, {"unit": "step"}, ["localizing: 1 of 2 steps, 40.0 s a step, about 40 s left"]),
        (4000, 3, {}, ["localizing: 1 of 3 images, 4000.0 s an image, about 2.2 h left"]),
        (40, 9, {"shown": False}, []),
    ],
)
def test_lines_fit_the_work(
    seconds: float, total: int, options: dict, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    worked(seconds, total, Clock(), **options)
    lines = capsys.readouterr().err.splitlines()
    assert lines[: len(expected)] == expected and bool(lines) == bool(expected)


def test_a_part_leaves_the_end_to_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Bar(2, "explaining", clock=clock) as bar:
        for _ in range(2):
            worked(20, 2, clock)
            bar.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "explaining: 1 of 2 images, 40.0 s an image, about 40 s left",
        "explaining: 2 images in 80 s",
    ]


def test_the_pace_is_that_of_the_work_of_this_call(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Bar(100, "auditing", unit="part", clock=clock) as bar:
        bar.skip(80)
        clock.now = 31
        bar.skip(1)
        for _ in range(2):
            clock.now += 29
            bar.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "auditing: 82 of 100 parts, 60.0 s a part, about 18 min left",
        "auditing: 2 parts in 89 s",
    ]


def test_a_call_that_fails_has_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="stop"), Bar(5, "explaining", clock=clock):
        clock.now = 100
        raise ValueError("stop")
    assert capsys.readouterr().err == ""
    worked(31, 1, clock)
    assert capsys.readouterr().err == "localizing: 1 image in 31 s\n", "an end again: the failed bar is closed"
