"""Catalogs: the videos of a data set with their labels and splits, in one form for all sources.

A new data set is one file here (a config with its own `kind`, and a `read_...` function) and one line in each of
`SourceConfig` and `read_catalog`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shardify.catalogs.base import Catalog
from shardify.catalogs.csv_list import CSVConfig, read_csv_list
from shardify.catalogs.diving48 import Diving48Config, read_diving48
from shardify.catalogs.finegym import FineGymConfig, read_finegym
from shardify.catalogs.folder import FlatConfig, FolderConfig, read_flat, read_folder
from shardify.catalogs.hmdb51 import HMDB51Config, read_hmdb51
from shardify.catalogs.kinetics import KineticsConfig, read_kinetics
from shardify.catalogs.something_something import SomethingSomethingConfig, read_something_something
from shardify.catalogs.ucf101 import UCF101Config, read_ucf101

SourceConfig = Annotated[
    UCF101Config
    | HMDB51Config
    | KineticsConfig
    | SomethingSomethingConfig
    | Diving48Config
    | FineGymConfig
    | FolderConfig
    | FlatConfig
    | CSVConfig,
    Field(discriminator="kind"),
]
"""The `source` section of a build config."""


def read_catalog(config: SourceConfig) -> Catalog:
    """List a source's content; UsageError if a folder or list is missing, empty or malformed, or no video is found."""
    match config:
        case UCF101Config():
            catalog = read_ucf101(config)
        case HMDB51Config():
            catalog = read_hmdb51(config)
        case KineticsConfig():
            catalog = read_kinetics(config)
        case SomethingSomethingConfig():
            catalog = read_something_something(config)
        case Diving48Config():
            catalog = read_diving48(config)
        case FineGymConfig():
            catalog = read_finegym(config)
        case FolderConfig():
            catalog = read_folder(config)
        case FlatConfig():
            catalog = read_flat(config)
        case CSVConfig():
            catalog = read_csv_list(config)
    return catalog
