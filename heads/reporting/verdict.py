"""Whether a report's numbers can be trusted, in plain words, from what the audit and the runs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.spec import are_random

from ..auditing.messages import from_audit, says_unaudited
from ..auditing.subject import words_for
from .run_reader import Collected


@dataclass(frozen=True)
class Verdict:
    """The answer to "can these numbers be trusted?".

    Attributes
    ----------
    level : ``bad``, ``unknown`` or ``fair``. There is no ``good``: no look at the data proves a model.
    answer : a few words.
    reasons : whole sentences, the gravest first.
    advice : what to do next.
    """

    level: str
    answer: str
    reasons: list[str]
    advice: str


def judge(collected: Collected, elsewhere: Sequence[Mapping[str, Any]]) -> Verdict:
    """Weigh what is known; ``elsewhere`` is as :func:`heads.reporting.tables.elsewhere` gives it."""
    audit = collected.audit
    words = words_for([name for run in collected.runs for name in run.classes])
    drawn = any(run.about.get("synthetic") for run in collected.runs)
    asked = "class" if all(run.kind == "classes" for run in collected.runs) else "answer"
    random = any(are_random(str(run.about.get("weights", ""))) for run in collected.runs)
    reasons = []
    if drawn:
        reasons.append(
            "The images are SYNTHETIC: drawn by a program, to try the commands on. No number here says anything about "
            "radiographs or about patients."
        )
    if random:
        reasons.append(
            "The frozen network has RANDOM weights: it has never seen an image. Its features are good enough to try "
            "the commands, and for nothing else."
        )
    reasons += _falls(elsewhere)
    reasons += _warnings(collected)
    if reasons and audit is None:
        reasons.append("No audit of this data was found, so there may be more.")
    if reasons:
        answer = "No: nothing here is real." if drawn else "Not as they stand."
        advice = _advice(collected, drawn)
        return Verdict("bad", answer, reasons, advice)
    if audit is None:
        return Verdict(
            "unknown",
            "Nobody has checked.",
            [
                f"No audit of this data was found. A model may score well for reasons that have nothing to do with "
                f"{words.itself}: copies of one image in training and in test, one patient in both, or the camera or "
                f"scanner, the border and the file format that give the {asked} away."
            ],
            _advice(collected, False),
        )
    return Verdict(
        "fair",
        "Nothing was found against them.",
        [
            "The audit looked for copies, for patients or other groups in several parts, and for what gives the "
            f"{asked} away {words.blind}, and raised no warning. That is no proof."
        ],
        "" if elsewhere else "The surest test is still to come: images of another place, with python cli.py evaluate.",
    )


def _falls(elsewhere: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each other place: the model that falls furthest there, and how many others do."""
    reasons = []
    fell = [model for model in elsewhere if model["fell"]]
    for place, headline in dict.fromkeys((model["data"], model["headline"]) for model in fell):
        there = [model for model in fell if (model["data"], model["headline"]) == (place, headline)]
        worst = max(there, key=lambda model: model["drop"])
        inside, outside = worst["inside"], worst["outside"]
        more = len(there) - 1
        others = f" Of the other models, {more} fall{'s' if more == 1 else ''} too." if more else ""
        reasons.append(
            f"On {worst['n_outside']} images from elsewhere ({worst['name']}) the same model's {headline} "
            f"is {outside['text']} ({_to(outside)}), where its own test images give {inside['text']} "
            f"({_to(inside)}).{others}"
        )
    return reasons


def _warnings(collected: Collected) -> list[str]:
    audit = collected.audit.about if collected.audit else {}
    told = [str(warning) for warning in audit.get("warnings", ())]
    if not told:  # never silent where a probe was flagged
        told = [str(s.get("verdict") or s["probe"]) for s in audit.get("shortcuts", ()) if s.get("flag")]
    runs = [str(w) for run in (*collected.evaluations, *collected.runs) for w in run.about.get("warnings", ())]
    # That there was no audit is said better elsewhere, and warnings of an earlier one are no news beside this one.
    runs = [text for text in runs if not says_unaudited(text) and not (collected.audit and from_audit(text))]
    return list(dict.fromkeys([*told, *runs]))


def _advice(collected: Collected, drawn: bool) -> str:
    if drawn:
        return "Put your own images in their place: python cli.py study --data FOLDER."
    if collected.audit is None:
        return f"Have the data checked, then make this page again: python cli.py audit --data {collected.data}"
    return (
        "Mend what the audit names, below; judge by images of another place (python cli.py evaluate); and until then "
        "quote no number of this page without these warnings."
    )


def _to(cell: Mapping[str, Any]) -> str:
    return f"95% interval {cell['range']}"
