"""What TRIPOD+AI and CLAIM ask of a report, item by item in few words, and which facts of a page answer each.

The numbers are the checklists' own; the words are not, so that an item is to be read in its source before it is
answered there. Facts are named as :mod:`heads.reporting.checklist_answers` finds them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One thing that is asked.

    Attributes
    ----------
    number : in the checklist.
    asks : what, in few words.
    facts : names of facts of a page that answer it, wholly or in part; none where only the authors can.
    """

    number: str
    asks: str
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checklist:
    """A reporting guideline: its name, where it was published, and its items in order."""

    name: str
    source: str
    items: tuple[Item, ...]


def _items(*rows: tuple[str, str] | tuple[str, str, str]) -> tuple[Item, ...]:
    return tuple(Item(row[0], row[1], tuple(row[2].split()) if len(row) > 2 else ()) for row in rows)


TRIPOD_AI = Checklist(
    "TRIPOD+AI",
    "2024: Collins et al., BMJ 385, e078378",
    _items(
        ("1", "Title: whether a model is developed or evaluated, for whom, and what it predicts", "study"),
        ("2", "Abstract, by the checklist for abstracts"),
        ("3a", "The medical setting, why a model, and earlier ones"),
        ("3b", "Whom it is for, what for, and who is to use it"),
        ("3c", "Known inequalities between groups of patients"),
        ("4", "Objectives: to develop, to evaluate, or both", "study"),
        ("5a", "Where the data come from, for development and for evaluation, and how representative they are", "data"),
        ("5b", "Dates of the data"),
        ("6a", "Setting: centres, and where they are"),
        ("6b", "Who was eligible"),
        ("6c", "Treatments received"),
        ("7", "How data were prepared and their quality checked", "preparation quality"),
        ("8a", "What is predicted, how and when it was found out", "target"),
        ("8b", "Who judged the outcome, where that takes judgement"),
        ("8c", "What the judges of the outcome did not know"),
        ("9a", "Which predictors were chosen, and why", "preparation"),
        ("9b", "How each predictor is defined and measured", "preparation"),
        ("9c", "Who judged the predictors, where that takes judgement"),
        ("10", "How the sample's size was arrived at", "learning_curve"),
        ("11", "Missing data, and what was done about them", "missing unreadable"),
        ("12a", "How the data were used: which part for what", "parts groups"),
        ("12b", "How predictors were handled, as by scaling", "preparation"),
        ("12c", "The kind of model, all steps of building it, tuning, and internal validation", "model tuning folds"),
        ("12d", "How differences between clusters, as centres, were looked into", "sites"),
        ("12e", "Measures and plots of performance, and how models were compared", "metrics intervals"),
        ("12f", "Updating of the model, as by recalibration", "calibration"),
        ("12g", "How predictions were computed for the evaluation", "specification"),
        ("13", "Unequal classes: what was done, and whether probabilities were mended after", "weighting calibration"),
        ("14", "What was done for fairness", "subgroups"),
        ("15", "What the model gives out, and how thresholds were chosen", "threshold"),
        ("16", "How development and evaluation data differ", "differences"),
        ("17", "Ethical approval"),
        ("18a", "Funding"),
        ("18b", "Conflicts of interest"),
        ("18c", "Where the protocol is"),
        ("18d", "Registration"),
        ("18e", "Whether the data can be had"),
        ("18f", "Whether the code can be had", "software"),
        ("19", "How patients and the public took part"),
        ("20a", "The flow of participants", "data unreadable parts"),
        ("20b", "What the participants are like, by source", "characteristics outcomes"),
        ("20c", "How those of the evaluation compare with those of development", "differences"),
        ("21", "Participants and outcomes in each analysis", "outcomes"),
        ("22", "The model in full, so that others can predict with it", "specification"),
        ("23a", "Performance with intervals, in subgroups too", "performance external subgroups predictive"),
        ("23b", "How performance differs between clusters", "sites"),
        ("24", "Results of updating", "calibration"),
        ("25", "What the results mean, fairness included"),
        ("26", "Limitations", "limitations shortcuts without_shortcuts"),
        ("27a", "What is done about input of poor quality, or none", "unreadable"),
        ("27b", "What users have to do and to know"),
        ("27c", "Next steps, and where else the model may hold"),
    ),
)

CLAIM = Checklist(
    "CLAIM",
    "2020: Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2, e200029",
    _items(
        ("1", "Title or abstract: that it is a study of artificial intelligence, and of which kind", "study"),
        ("2", "A structured abstract"),
        ("3", "Background, intended use and clinical role"),
        ("4", "Objectives and hypotheses"),
        ("5", "Prospective or retrospective"),
        ("6", "The study's goal, as to make a model or to try whether one can be made", "study"),
        ("7", "Where the data come from", "data"),
        ("8", "Who was eligible: how, where and when they were found"),
        ("9", "Preprocessing", "preparation"),
        ("10", "Which part of the data was selected", "unreadable"),
        ("11", "Definitions of what was recorded"),
        ("12", "De-identification"),
        ("13", "Missing data", "missing unreadable"),
        ("14", "The reference standard, so that others can repeat it", "target"),
        ("15", "Why this reference standard"),
        ("16", "Who annotated, and what they are qualified in"),
        ("17", "Tools of annotation"),
        ("18", "How much annotators differ, and what was done about it", "label_errors"),
        ("19", "The intended size of the sample, and how it was arrived at", "learning_curve"),
        ("20", "How data were assigned to parts, and their shares", "parts"),
        ("21", "At which level the parts are apart: image, study, patient, institution", "groups"),
        ("22", "The model in detail: inputs, outputs, layers", "preparation model"),
        ("23", "Software and its versions", "software"),
        ("24", "Initial parameters, and where pretrained ones come from", "initialization"),
        ("25", "Training in detail: augmentation, settings, number of models", "model tuning"),
        ("26", "How the final model was selected", "selection"),
        ("27", "Ensembles"),
        ("28", "Metrics", "metrics"),
        ("29", "Significance and uncertainty", "intervals spread"),
        ("30", "Robustness, or sensitivity to assumptions", "shortcuts without_shortcuts spread"),
        ("31", "Explanation of the model's answers, and how it was validated", "explanation"),
        ("32", "Validation on external data", "external"),
        ("33", "The flow of participants or cases", "data unreadable parts"),
        ("34", "Demographic and clinical characteristics of each part", "characteristics"),
        ("35", "Performance on all parts", "performance external"),
        ("36", "Estimates of diagnostic accuracy and their precision", "performance predictive"),
        ("37", "Analysis of what is classified wrongly", "failures label_errors"),
        ("38", "Limitations", "limitations"),
        ("39", "What it means for practice"),
        ("40", "Registration"),
        ("41", "Where the full protocol is"),
        ("42", "Funding"),
    ),
)
