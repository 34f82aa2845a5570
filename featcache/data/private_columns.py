"""Which columns of a table are of people rather than of images, and so are kept nowhere unless they are named.

A name tells (``patient_name``, ``MRN``, ``StudyInstanceUID``, ``dob``), or the cells do: dates, and texts of which
nearly every row has another one. Whoever needs such a column names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_OF_PEOPLE = (
    "mrn ssn nhs insurance birth birthday birthdate dob born address street zip zipcode postcode postal phone "
    "telephone tel fax email mail accession uid uids id ids identifier identifiers surname forename initials physician "
    "doctor radiologist reader operator"
)
_PERSONS = "patient subject person participant individual case"
# What may have a name without being a person; any other name counts as one.
_NAMED = (
    "model station manufacturer device scanner machine institution hospital site center centre class label file image "
    "protocol series sequence body part view column dataset"
)
_TELL, _THINGS = frozenset(_OF_PEOPLE.split()), frozenset(_NAMED.split())
_ALONE = frozenset([*_PERSONS.split(), "pid"])
_PEOPLE = frozenset([*_PERSONS.split(), "hospital", "chart", "record", "medical", "social"])
_NUMBERED = frozenset(["nr", "no", "num", "number", "key", "code", "hash"])
_DATES = frozenset(["date", "dates", "datetime", "timestamp"])
_GLUED = re.compile(
    r"(?:patient|subject|study|series|instance|image|dicom|case|person|participant)s?(?:id|uid|nr|no|number|key)s?\Z|"
    r"(?:first|last|full|given|family|middle|maiden|sur|patient|subject)names?\Z|dateofbirth|birthdate|birthyear|"
    r"(?:study|scan|exam|acquisition|admission)date\Z"
)
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}|\d{4})|(?:19|20)\d\d(?:0[1-9]|1[0-2])"
    r"(?:0[1-9]|[12]\d|3[01])(?:\.0)?)(?:[ T]\d{1,2}:\d\d.*)?"
)
_FEWEST = 5  # different texts, before their number can tell anything
_NEARLY_ALL = 0.9  # of the rows that say something


def name_tells(name: str) -> str | None:
    """Why a column of this name is left out; None where it says nothing of people."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    parts = {word for word in re.split(r"[\W_]+", words.lower()) if word}
    glued = "".join(re.split(r"[\W_]+", name.lower()))
    if parts & _DATES or glued.endswith("date"):
        return "a date"
    if parts & _TELL or parts <= _ALONE or _GLUED.search(glued) or (parts & _PEOPLE and parts & _NUMBERED):
        return "tells of people by its name"
    if parts & {"name", "names"} and not parts & _THINGS:
        return "a name"
    return None


def are_dates(known: Collection[str]) -> bool:
    """Whether the different cells of a column, the unknown ones left out, are all dates."""
    return bool(known) and all(_DATE.fullmatch(cell.strip()) for cell in known)


def nearly_all_differ(different: int, known: int) -> bool:
    """Whether a text column has another value in nearly every row that says something, as an identifier has."""
    return different >= _FEWEST and different > _NEARLY_ALL * known
