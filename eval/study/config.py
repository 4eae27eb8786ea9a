"""The config of a study (configs/study/*.yaml): which networks to compare, on which evaluations, with which seeds."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, field_validator, model_validator

from eval.judging.config import WeightsConfig
from eval.study.claims import FOLDER
from shardify.config import StrictModel
from shardify.storage.locations import Location, WritableLocation, join_location
from stream_train.training.config import DeviceChoice


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise ValueError("names are letters, digits and _ . + -, and begin with a letter or digit")
    return name


Name = Annotated[str, AfterValidator(_folder_name)]
"""A name that is also that of a folder."""
Match = Literal["videos", "clips"]


class BaseConfig(StrictModel):
    """A config of the program or of a file, and what is different here."""

    config: str | None = None
    """Name of a recipe, file or URL; null: all keys are in `changes`."""
    changes: dict[str, Any] = Field(default={})
    """Keys that differ, nested as there. A section with another `kind` replaces the whole section."""


class EvaluateConfig(BaseConfig):
    """One config of evaluations (configs/eval/*.yaml), and which of its evaluations to run.

    Its `networks`, `seeds` and `out` are set by the study.
    """

    evaluations: tuple[str, ...] = Field(min_length=1)
    """transfer, probe, retrieval, sync, before_after, still."""


class RowConfig(BaseConfig):
    """A network to compare: a pre-training that differs from the study's, or any other network."""

    network: WeightsConfig | None = None
    """A network that needs no pre-training here: random weights, a checkpoint, torchvision's weights, trivial features.
    `like` names another row."""
    evaluate: dict[str, Any] = Field(default={})
    """Keys of all evaluations' configs that differ for this row, such as `{transfer: {epochs: 150}}`."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if self.network is not None and (self.config is not None or self.changes):
            raise ValueError("a row with a `network` is not pre-trained, so `config` and `changes` have no meaning")
        return self


class FindingConfig(StrictModel):
    """A claim, stated before anything is measured: a row is better than others."""

    claim: str
    """For the table: "pre-training helps"."""
    row: Name
    than: tuple[Name, ...] = Field(min_length=1)
    judged_by: tuple[str, ...] = Field(min_length=1)
    """`probe` (all its variants and metrics), `probe/fc-all` or `sync/frozen/mae`."""
    data_set: str | None = None
    """Only results on test data of this name; null: on all test data."""


class StudyConfig(StrictModel):
    """One study. A row with one seed is a job; processes and machines share the jobs through `out`."""

    recipes: ClassVar[str] = "study"
    out: WritableLocation
    """Folder or URL for all runs, results and claims; everyone who works on the study has the same."""
    tables: Name | None = None
    """Folder below `out` for tables, picture and `rows.jsonl`; null: `out` itself. Studies that share `out` need
    one each."""
    pretrain: BaseConfig = BaseConfig()
    """The pre-training that rows differ from (configs/pretrain/*.yaml)."""
    rows: dict[Name, RowConfig] = Field(min_length=1)
    """The networks to compare, by name, in the order of the tables."""
    reference: str | None = None
    """The row that the others are compared with; null is the first."""
    evaluate: dict[Name, EvaluateConfig] = Field(min_length=1)
    """Evaluations, by the name of their folder."""
    findings: tuple[FindingConfig, ...] = ()
    """Claims that the tables judge by paired differences: holds, does not hold, undecided."""
    shards: dict[str, Location] = Field(default={})
    """Where the data sets of the configs lie here: `{data/ucf101/shards: s3://bucket/ucf101}`."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Each row runs once with each seed, in pre-training and in evaluations; more may be added later."""
    match: Match = "videos"
    """What pre-trainings have in common. `videos`: the videos in a batch, as in the paper, so that tasks with fewer
    clips a video see fewer clips. `clips`: clips in a batch and in all are those of the reference, by other `epochs`
    and `data.videos_per_batch`."""
    audit: bool = False
    """Audit each pre-training's score too, as `stream-train audit` does."""
    device: DeviceChoice = "auto"
    """For all jobs, as are `threads` and `num_workers`."""
    threads: int = Field(default=0, ge=0, le=1024)
    num_workers: int | None = Field(default=None, ge=0, le=256)

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed may be named once")
        return seeds

    @model_validator(mode="after")
    def _tables_have_a_folder_of_their_own(self) -> Self:
        if self.tables in (taken := [*self.rows, FOLDER]):
            raise ValueError(
                f"tables is {self.tables!r}, a folder of the study itself; take none of {', '.join(taken)}"
            )
        return self

    @model_validator(mode="after")
    def _reference_is_a_row(self) -> Self:
        if self.reference is not None and self.reference not in self.rows:
            raise ValueError(f"reference is {self.reference!r}, which is no row; rows are: {', '.join(self.rows)}")
        return self

    @model_validator(mode="after")
    def _findings_are_about_rows(self) -> Self:
        evaluations = {name for entry in self.evaluate.values() for name in entry.evaluations}
        for finding in self.findings:
            if unknown := [row for row in (finding.row, *finding.than) if row not in self.rows]:
                raise ValueError(
                    f"the finding {finding.claim!r} names {unknown[0]!r}, which is no row; rows are: "
                    f"{', '.join(self.rows)}"
                )
            if missing := [asked for asked in finding.judged_by if asked.split("/")[0] not in evaluations]:
                raise ValueError(
                    f"the finding {finding.claim!r} is judged by {missing[0]!r}, which is no evaluation of this study; "
                    f"there are: {', '.join(sorted(evaluations))}"
                )
        return self

    @property
    def tables_location(self) -> str:
        """Folder or URL for the tables."""
        return self.out if self.tables is None else join_location(self.out, self.tables)

    @property
    def reference_row(self) -> str:
        """The name of the row that others are compared with."""
        return self.reference or next(iter(self.rows))
