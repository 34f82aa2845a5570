"""A spread as lines for people: how far the metric moves, by which part of chance, and which comparisons survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .formatting import kind_of

NOTHING = (
    "no two test patients differed (as where none is wrong), which hides what others may do: read the 95% interval"
)


def spread_lines(result: dict[str, Any]) -> list[str]:
    """Of one model, each part with what it means; nothing where no spread was asked for."""
    about = result.get("spread")
    if about is None:
        return []
    from ..evaluation.spread_parts import PARTS, part_in_words

    own = result["test"][about["metric"]]
    means = [f"{name} {value:.4f}" for name, value in (("mean", about["mean"]), ("this run", own)) if value is not None]
    lines = ["", f"{_headline(about, kind_of(result))}: {', '.join(means)}; what moves it, as standard deviation:"]
    for part, (title, words) in PARTS.items():
        seedless = part == "seed" and about["has_seed"] is False
        said = "this model has no seed: it gives the same each time" if seedless else words
        lines.append(f"  {title:<13}{part_in_words(about, part, _number):>16}   {said}{_between(about, part)}")
    if about["total"] is not None:
        total = f"± {_number(about['total'])}"
        lines.append(f"  {'one such run':<13}{total:>16}   with other patients and another seed")
    if about["parts"]["test_images"] == 0:
        lines.append(f"  {NOTHING}")
    winner = about.get("winner")
    if winner is not None:
        tied = f", tied for it in {winner['tied']}" if winner["tied"] else ""
        among = f"among the best {len(winner['candidates'])} of the search"
        lines.append(f"the winner stays first {among} in {winner['first']} of {winner['of']} divisions{tied}")
    return lines


def board_spread_lines(result: dict[str, Any]) -> list[str]:
    """Of a leaderboard, a line for each model, and how often the first is above it."""
    rows = [row for row in result["rows"] if "spread" in row]
    if not rows:
        return []
    from ..evaluation.spread_parts import PARTS, part_in_words

    first, *others = rows
    lines = ["", f"{_headline(first['spread'], kind_of(result))}; what moves it, as standard deviation:"]
    lines.append(
        f"{'model':<19}{'this run':>9}{'mean':>9}{'test images':>16}{'split':>16}{'seed':>16}{'one such run':>16}"
    )
    for row in rows:
        about = row["spread"]
        mean = "".join(
            f"{'–' if value is None else format(value, '.4f'):>9}"
            for value in (row["test"][about["metric"]], about["mean"])
        )
        parts = "".join(f"{part_in_words(about, part, _number):>16}" for part in PARTS)
        total = "–" if about["total"] is None else f"± {_number(about['total'])}"
        lines.append(f"{row['name']:<19}{mean}{parts}{total:>16}")
    seedless = [row["name"] for row in rows if row["spread"]["has_seed"] is False]
    if seedless:
        lines.append(f"{', '.join(seedless)}: {_having(seedless)} no seed, the same comes out each time")
    still = [row["name"] for row in rows if row["spread"]["parts"]["test_images"] == 0]
    if still:
        lines.append(f"{', '.join(still)}: {NOTHING}")
    lines += [survives(row) for row in others if row["spread"].get("against_first")]
    return lines


def survives(row: dict[str, Any]) -> str:
    """``logistic better than lda in 61 of 100, the same in 3; mean difference +0.0120``."""
    found = row["spread"]["against_first"]
    equal = f", the same in {found['equal']}" if found["equal"] else ""
    return (
        f"{found['first']} better than {row['name']} in {found['better']} of {found['of']}{equal}; "
        f"mean difference {found['difference']:+.4f}"
    )


def _headline(about: dict[str, Any], kind: str) -> str:
    from ..experiments.search_scores import SCORES

    divisions = "this division" if about["repeats"] == 1 else f"{about['repeats']} divisions of all patients"
    seeds = f"{about['seeds']} seed{'s' if about['seeds'] > 1 else ''} on each"
    return f"spread of the {SCORES[kind].label} over {divisions}, {seeds}"


def _between(about: dict[str, Any], part: str) -> str:
    if part != "split" or about["split_ci"] is None:
        return ""
    low, high = about["split_ci"]
    return f" (95%: {low:.4f} to {high:.4f})"


def _number(deviation: float) -> str:
    return f"{deviation:.4f}" if deviation < 1000 else f"{deviation:.5g}"


def _having(names: Sequence[str]) -> str:
    return "it has" if len(names) == 1 else "they have"
