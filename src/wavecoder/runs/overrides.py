"""Arguments as Hydra takes them: options before choices, and whole numbers as names of options, so that `latent=1,5` works."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from wavecoder.runs.limits import SettingError

_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf"  # in an installed package
if not CONF.is_dir():
    CONF = _PACKAGE.parents[1] / "conf"  # in a checkout

_OPTIONAL_GROUPS = ("experiment", "debug")  # null chooses nothing of them
_OPTIONS_WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c")
_WHOLE_NUMBER = re.compile(r"(?<![^,(\s])\d+(?![^,)\s])")  # standing alone between commas and parentheses


def options_first(arguments: Iterable[str]) -> list[str]:
    """Arguments with options like `-m` and `--config-dir DIR` before all choices: Hydra knows none behind the first choice.

    Example:
        >>> options_first(["latent=1,5", "-m", "--config-dir", "mine", "seed=3"])
        ['-m', '--config-dir', 'mine', 'latent=1,5', 'seed=3']
    """
    options: list[str] = []
    choices: list[str] = []
    for argument in arguments:
        is_value = bool(options) and options[-1] in _OPTIONS_WITH_VALUE
        (options if argument.startswith("-") or is_value else choices).append(argument)
    return [*options, *choices]


def check_choices(arguments: Iterable[str]) -> None:
    """Refuse a key that is chosen twice, of which Hydra would take the last, and what `-m` alone decides.

    Args:
        arguments: Those of the command; options may be among them.

    Raises:
        SettingError: There is one.
    """
    chosen: dict[str, str] = {}
    for argument in arguments:
        key, assigns, _ = argument.partition("=")
        if argument.startswith("-") or not assigns:
            continue
        key = key.lstrip("+~")
        if key in chosen:
            raise SettingError(f"{argument}: {key} must be chosen once, and there is {chosen[key]} too")
        chosen[key] = argument
        if key == "hydra.mode":
            raise SettingError(f"{argument}: must be left alone; -m makes a sweep of a run")
        if key == "hydra.verbose":
            _check_verbose(argument)


def _check_verbose(argument: str) -> None:
    """Refuse a `hydra.verbose` by which Hydra would show the messages of nobody.

    Raises:
        SettingError: It is neither true or false, nor names of loggers.
    """
    with suppress(HydraException):  # Hydra will name it
        value = OverridesParser.create().parse_override(argument).value()
        names = value if isinstance(value, list) else [value]
        if isinstance(value, bool) or (names and all(isinstance(name, str) and _is_package(name) for name in names)):
            return
        raise SettingError(f"{argument}: must be true, false, or packages whose messages are shown, as [wavecoder,torch]")


def _is_package(name: str) -> bool:
    package = name.partition(".")[0]
    return package == "root" or (package.isidentifier() and package != "__main__" and find_spec(package) is not None)


def check_options(arguments: Iterable[str]) -> None:
    """Refuse options of the command line that Hydra does not have, which would print its usage.

    Args:
        arguments: Those of the command, options before choices.

    Raises:
        SettingError: What Hydra's parser says of them.
    """

    def refuse(message: str) -> NoReturn:
        raise SettingError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    if parser.parse_args(list(arguments)).experimental_rerun:
        refuse("--experimental-rerun: reads a pickle, which can execute anything; run=FOLDER resumes a run by its folder")


def options_of(group: str) -> list[str]:
    """The names of a group's options in `conf/`."""
    return sorted_options(file.stem for file in (CONF / group).glob("*.yaml"))


def suggestion(group: str, option: str, options: Sequence[str]) -> str:
    """What to add to the message that a group has no such option: what may have been meant.

    Example:
        >>> suggestion("latent", "7", ["1", "5"]), suggestion("loss", "mes", ["l1", "mse"])
        ('; did you mean latent.dim=7?', '; did you mean loss=mse?')
    """
    if near := get_close_matches(option, [name for name in options if not name.isdecimal()], n=1, cutoff=0.6):
        return f"; did you mean {group}={near[0]}?"
    files = [CONF / group / f"{name}.yaml" for name in options]
    contents: list[Any] = [OmegaConf.to_container(OmegaConf.load(file)) for file in files if file.exists()]
    keys = {key for content in contents for key in content}
    if len(keys) == 1 and option.isdecimal():  # options that are nothing but values of one key
        return f"; did you mean {group}.{keys.pop()}={option}?"
    return ""


def sorted_options(names: Iterable[str]) -> list[str]:
    """Names of options as people would sort them: numbers by their value."""
    return sorted(names, key=lambda name: (name.isdigit() and int(name), name))


def quote_whole_numbers(argument: str) -> str:
    """Quote the whole numbers in a choice among a group's options: `latent=1,5` becomes `latent='1','5'`.

    Hydra reads `1` as a number and then refuses it as the name of an option. Other arguments are returned as they are.

    Raises:
        SettingError: The value can name no option of the group.
    """
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return argument  # an option like -m, or a mistake that Hydra will name
    group = CONF / override.key_or_group
    if override.is_delete() or not group.is_dir():
        return argument
    key, _, choices = argument.partition("=")
    value = override.value()
    if value is None and group.name in _OPTIONAL_GROUPS:
        return f"~{key.lstrip('+')}"  # Hydra takes no null as the name of an option, though it is one by default
    nothing = value is None or (isinstance(value, ChoiceSweep) and None in value.list)
    is_path = isinstance(value, str) and (value.startswith(("/", "~")) or ".." in value.split("/"))
    if nothing or is_path or isinstance(value, float | bool | list | dict) or (isinstance(value, int) and value < 0):
        options = ", ".join(options_of(override.key_or_group))
        raise SettingError(f"{argument}: must be the name of an option; there are {options}")
    if isinstance(value, RangeSweep):
        choices = ",".join(map(str, value.range()))
        if value.shuffle:
            choices = f"shuffle({choices})"
    return f"{key}=" + _WHOLE_NUMBER.sub(r"'\g<0>'", choices)
