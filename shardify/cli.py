"""The command `shardify`: videos -> frames -> shards, and looking at shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from shardify.command import CommandGroup, add_recipe_commands, json_option, set_option
from shardify.errors import WorkError, counted

if TYPE_CHECKING:
    from shardify.build.config import BuildConfig
    from shardify.build.run import Engine
    from shardify.build.summary import BuildSummary, PartSummary


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Turn videos into shards of frames, and look at them."""


@main.command("synthetic")
@click.argument("config")
@set_option
def synthetic_command(config: str, overrides: tuple[str, ...]) -> None:
    """Make demo videos of moving shapes.

    CONFIG, a recipe or a YAML file, describes them.
    """
    from shardify.config import load_config
    from shardify.synthetic.videos import SyntheticConfig, write_synthetic

    made = write_synthetic(load_config(SyntheticConfig, config, overrides))
    _print([f"{made.out}: {made.num_videos} videos, {made.num_frames:,} frames; {made.num_made} made now"])


@main.command("build")
@click.argument("config")
@set_option
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Also rebuild the shards that lack rejected videos, or whose videos have other sizes now.",
)
@click.option(
    "--part",
    "part_text",
    metavar="I/N",
    help="Build part I of N, for an array of jobs; the last part, or `shardify finish`, writes the manifest.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Build with processes of this machine, or on a Ray cluster: the one at RAY_ADDRESS, one on this machine, or a "
    "new one. With Ray, videos, lists and out must be URLs, or folders that all machines share.",
)
@json_option
def build_command(
    config: str, overrides: tuple[str, ...], retry_failed: bool, part_text: str | None, engine: Engine, as_json: bool
) -> None:
    """Build shards from videos.

    CONFIG, a recipe or a YAML file, says which and how.

    To continue a stopped build, run the same command again.
    """
    from shardify.build.plan import parse_part
    from shardify.build.run import build, build_part

    values = _load(config, overrides)
    if part_text is None:
        _report(build(values, retry_failed=retry_failed, engine=engine), as_json)
    else:
        _report(build_part(values, parse_part(part_text), retry_failed=retry_failed, engine=engine), as_json)


@main.command("finish")
@click.argument("config")
@set_option
@json_option
def finish_command(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Write the manifest when all parts are built.

    CONFIG is that of the parts.
    """
    from shardify.build.run import finish

    _report(finish(_load(config, overrides)), as_json)


def _load(config: str, overrides: tuple[str, ...]) -> BuildConfig:
    from shardify.config import load_config

    return load_config(_config_model(), config, overrides)


def _config_model() -> type[BuildConfig]:
    from shardify.build.config import BuildConfig

    return BuildConfig


add_recipe_commands(main, "shards", _config_model)


def _report(summary: BuildSummary | PartSummary, as_json: bool) -> None:
    _print(summary.to_dict() if as_json else summary.lines())
    if summary.problems:
        raise WorkError("; ".join(summary.problems))


@main.command("verify")
@click.argument("dataset")
@click.option("--deep", is_flag=True, help="Also decode every frame and read every shard with stock WebDataset.")
@json_option
def verify_command(dataset: str, deep: bool, as_json: bool) -> None:
    """Check every count, size and checksum of a data set.

    DATASET is a folder of shards.
    """
    from shardify.inspection.verify import verify
    from shardify.progress import Countdown
    from shardify.shards.manifest import read_manifest
    from shardify.storage import open_store

    store = open_store(dataset)
    with Countdown(len(read_manifest(store).shards), unit="shard") as counter:
        report = verify(store, deep=deep, on_shard=counter.advance)
    checked = ", ".join(
        (
            counted(report.num_shards, "shard"),
            counted(report.num_samples, "sample"),
            counted(report.num_frames, "frame"),
        )
    )
    verdict = f"checked {checked}" if report.problems else f"{dataset} is intact: {report.words} of {checked}"
    _print(report.to_dict() if as_json else [*(str(problem) for problem in report.problems), verdict])
    if report.problems:
        count = counted(len(report.problems), "problem")
        raise WorkError(
            f"{dataset}: {count} in {checked}; delete the record (shard-NNNNNN.json) of each shard named and run "
            "`shardify build` again to rebuild it"
        )


@main.command("inspect")
@click.argument("dataset")
@click.option("--key", help="Show this one sample.")
@click.option(
    "--pixels",
    type=click.IntRange(min=0),
    default=0,
    help="Also decode so many samples; count frames that repeat in a rhythm, and black bars.",
)
@json_option
def inspect_command(dataset: str, key: str | None, pixels: int, as_json: bool) -> None:
    """Show the content of DATASET (a folder of shards)."""
    from shardify.inspection.summary import sample_record, summarise_dataset, summary_lines
    from shardify.storage import open_store

    store = open_store(dataset)
    if key is not None:
        record = sample_record(store, key)
        _print(record if as_json else _record_lines(record))
    else:
        summary = summarise_dataset(store, pixels)
        _print(summary if as_json else summary_lines(summary))


@main.command("urls")
@click.argument("dataset")
@click.option("--split", help="Only the shards of this split, for example train1.")
def urls_command(dataset: str, split: str | None) -> None:
    """Print the location of each shard, for stock readers.

    One per line. DATASET is a folder or URL of shards.
    """
    from shardify.inspection.summary import shard_urls
    from shardify.storage import open_store

    _print(shard_urls(open_store(dataset), split))


@main.command("preview")
@click.argument("dataset")
@click.option("--out", required=True, help="Folder or URL for the picture.")
def preview_command(dataset: str, out: str) -> None:
    """Draw a row of frames for each class, as PNG.

    DATASET is a folder of shards.
    """
    from shardify.inspection.preview import write_contact_sheet
    from shardify.storage import open_store

    _print([write_contact_sheet(open_store(dataset), out)])


def _record_lines(record: dict[str, Any]) -> list[str]:
    """A sample's record without its long lists of sizes and checksums."""
    sizes = record["frame_bytes"]
    short = {**record, "frame_bytes": f"{min(sizes)} to {max(sizes)}, {sum(sizes):,} in all"}
    del short["frame_crc32"]
    return [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in short.items()]


def _print(result: dict[str, Any] | list[str]) -> None:
    click.echo("\n".join(result) if isinstance(result, list) else json.dumps(result, indent=2))
