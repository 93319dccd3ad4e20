# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check names, tags and stars that people give to files, as they come in."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from noslop_backend.schemas.api_models import StoredTitle, Title
from noslop_backend.share.layout import title_problem

TAG_LIMIT = 100
TAGS_LIMIT = 64
RATING_LIMIT = 5


def _tag(text: str) -> str:
    tag = unicodedata.normalize("NFC", text).strip()
    if problem := title_problem(tag):
        raise ValueError(problem.replace("a name", "a tag"))
    # As it came: a few letters become two in NFC.
    if len(text) > TAG_LIMIT:
        raise ValueError(f"a tag has at most {TAG_LIMIT} characters, this one {len(text)}")
    return tag


#: A label, in NFC and without spaces around it. Two that differ in case are two.
Tag = Annotated[
    str,
    AfterValidator(_tag),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": TAG_LIMIT,
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*[^\s\u0000-\u001f\u007f-\u009f\u2028\u2029]"
            r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
        }
    ),
]
Tags = Annotated[list[Tag], Field(max_length=TAGS_LIMIT)]
Rating = Annotated[int, Field(ge=0, le=RATING_LIMIT)]


class FileLabels(BaseModel):
    """The name, the tags and the stars that people give a file."""

    name: StoredTitle
    tags: Tags = Field(default_factory=list)
    rating: Rating | None = None

    @classmethod
    def read(cls, name: str, tags: object, rating: object) -> FileLabels:
        """Return the labels that a sidecar holds; without tags and stars where those cannot be read."""
        try:
            made = cls.model_validate({"name": name, "tags": tags or [], "rating": rating})
        except ValidationError:
            return cls(name=name)
        return made.model_copy(update={"tags": sorted(set(made.tags))})


class FileUpdate(BaseModel):
    """What changes in a file; what is not set stays. A rating of null takes the stars away."""

    model_config = ConfigDict(extra="forbid")

    name: Title | None = None
    rating: Rating | None = None
    #: All tags that it has from now on; then `add_tags` come, and `remove_tags` go.
    tags: Tags | None = None
    add_tags: Tags = Field(default_factory=list)
    remove_tags: Tags = Field(default_factory=list)

    @model_validator(mode="after")
    def _nothing_needed_is_removed(self) -> FileUpdate:
        for name in ("name", "tags"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null: leave it out, and it stays as it is")
        return self
