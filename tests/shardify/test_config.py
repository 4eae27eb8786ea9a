"""Configs: strict, overridable, and explained when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from shardify.config import StrictModel, dump_config, load_config
from shardify.errors import UsageError


class Cat(StrictModel):
    kind: Literal["cat"]
    lives: int = Field(default=9, ge=1)


class Dog(StrictModel):
    kind: Literal["dog"]
    tricks: tuple[str, ...] = ()


class House(StrictModel):
    address: str
    rate: float = 1.0
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat(kind="cat")
    shed: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    guests: dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]] | None = None
    row: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] | None = None
    kennel: Dog = Dog(kind="dog")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "house.yaml"
    path.write_text("address: here\npet: {kind: cat}\n")
    return path


def test_overrides_are_yaml_values_applied_in_order(path: Path) -> None:
    house = load_config(House, path, ["pet.lives=3", "rate=1e-3", "pet.lives=4", "address=there, far"])
    assert house == House(address="there, far", rate=0.001, pet=Cat(kind="cat", lives=4))
    dog = load_config(House, path, ["pet={kind: dog, tricks: [sit]}"]).pet
    assert dog == Dog(kind="dog", tricks=("sit",))


@pytest.mark.parametrize("text", ["/my runs #2/a", "a: b", "a:", "it's", 'say "hi"', "$HOME", "50%", "a, [b]"])
def test_plain_text_stays_as_it_is(path: Path, text: str) -> None:
    assert load_config(House, path, [f"address={text} "]).address == text
    quoted = "'" + text.replace("'", "''") + "'"
    assert load_config(House, path, [f"address={quoted}"]).address == text


def test_a_section_without_a_kind_has_the_default_kind(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("address: here\n")
    assert load_config(House, path, ["pet.lives=2"]).pet == Cat(kind="cat", lives=2)
    assert load_config(House, path, ["pet.kind=dog"]).pet == Dog(kind="dog")


def test_a_dumped_config_loads_to_an_equal_one(path: Path, tmp_path: Path) -> None:
    house = load_config(House, path, ["pet.lives=3"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(house))
    assert load_config(House, copy) == house


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "adress=x",
            r"house.yaml: unknown key adress \(did you mean address\?\); allowed: address, guests, kennel",
        ),
        ("pet.tricks=[sit]", r"^\S+house.yaml: unknown key pet.tricks; allowed: kind, lives$"),
        ("pet.lives=0", r"house.yaml: pet.lives = 0: Input should be greater than or equal to 1"),
        ("rate=quick", r"rate = 'quick': Input should be a valid number"),
        ("rate=.nan", r"rate = nan: Input should be a finite number"),
        ("shed={tricks: [dig]}", r"shed.kind is missing; allowed: cat, dog"),
        ("pet.kind=bird", r"pet.kind = 'bird': there is no such kind; allowed: cat, dog$"),
        ("pet.kind=dgo", r"pet.kind = 'dgo': there is no such kind \(did you mean dog\?\); allowed: cat, dog$"),
        ("shed={kind: cat, lives: no}", r"house.yaml: shed.lives = False: Input should be"),
        ("guests.cat={kind: dog, tricks: 1}", r"house.yaml: guests.cat.tricks = 1: Input should be a valid tuple$"),
        ("guests.dog={kind: cat, tricks: 1}", r"unknown key guests.dog.tricks; allowed: kind, lives$"),
        ("guests.tom={kind: bird}", r"guests.tom.kind = 'bird': there is no such kind; allowed: cat, dog$"),
        ("row=[{kind: dog}, {kind: cat, lives: 0}]", r"house.yaml: row.1.lives = 0: Input should be greater"),
        ("row=[{kind: cat, live: 0}]", r"unknown key row.0.live \(did you mean lives\?\); allowed: kind, lives$"),
        ("kennel.tricks=[1]", r"house.yaml: kennel.tricks.0 = 1: Input should be a valid string$"),
        ("kennel.kind=cat", r"kennel.kind = 'cat': Input should be 'dog'$"),
        ("pet=dog", r"pet = 'dog': it is a section; set pet.kind to one of: cat, dog$"),
        ("kennel=rex", r"kennel = 'rex': it is a section with keys of its own: kind, tricks$"),
        ("address.street=x", r"--set address.street=x: address holds 'here', which has no keys below it"),
        ("address", r"--set address: write it as dotted.key=value"),
        ("rate=[1", r"--set rate=\[1: the value is not valid YAML"),
    ],
)
def test_an_error_names_the_key_and_what_is_allowed(path: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config(House, path, [override])
    assert "\n" not in str(caught.value)


def test_all_problems_are_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("rate: x\ncolour: red\npet: {kind: cat, age: 3}\nsize: 2\n")
    with pytest.raises(UsageError, match=r"address is missing; set it .*rate = 'x'") as caught:
        load_config(House, path)
    message = str(caught.value)
    assert "unknown keys colour, size; allowed: address, guests" in message
    assert "unknown key pet.age; allowed: kind, lives" in message
    assert message.count("allowed: address") == 1  # once for a section, not for each of its keys


def test_a_missing_file_s_neighbours_are_named_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("house.yaml", ".hooks.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as caught:
        load_config(House, tmp_path / "hose.yaml")
    assert str(caught.value).endswith(f"; there are: {tmp_path / 'house.yaml'}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", r"is not valid YAML"),
        (b"- 1\n", r"must hold a mapping of keys to values, not list"),
        (b"\xff\xfe\x00", r"cannot read config .*not a UTF-8 text file|not valid YAML"),
        (None, r"cannot read config .*No such file"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_config(House, path)


def test_configs_are_immutable(path: Path) -> None:
    house = load_config(House, path)
    with pytest.raises(ValueError, match="frozen"):
        house.rate = 2.0  # type: ignore[misc]
