"""What Hydra keeps in `.hydra/` in a run's folder: the configuration, Hydra's own settings, and what the command line chose."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from wavecoder.training.files import DamagedError, read_file


def read_config(folder: Path, name: str = "config") -> DictConfig:
    """The composed configuration of a run without its `hydra` node, or with `name="hydra"` that node alone.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is damaged.
    """
    file = folder / ".hydra" / f"{name}.yaml"
    content = _read(file)
    is_whole = isinstance(content, DictConfig) and bool(content)
    if name == "hydra" and is_whole:
        node = content.get("hydra")
        is_whole = isinstance(node, DictConfig) and "verbose" in node  # which is the last of Hydra's settings
    if not is_whole:
        raise DamagedError(f"{file}: is damaged")
    return content


def read_overrides(folder: Path) -> list[str]:
    """What the command line chose for a run, in the words of Hydra.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedError: It is damaged.
    """
    file = folder / ".hydra" / "overrides.yaml"
    content = _read(file)
    given = OmegaConf.to_container(content) if isinstance(content, ListConfig) else None
    if not isinstance(given, list) or not all(isinstance(each, str) and not each.startswith("-") for each in given):
        raise DamagedError(f"{file}: is damaged")
    return [str(each) for each in given]


def _read(file: Path) -> Any:
    try:
        text = read_file(file).decode()
        if not text.endswith("\n"):  # Hydra ends each line
            raise ValueError("is cut")
        # Hydra writes none, and a few lines with them stand for billions of values
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("has aliases")
        return OmegaConf.create(text)
    except FileNotFoundError:
        raise
    except Exception as error:  # of many kinds: YAML's, OmegaConf's, of text that is none, of dates that do not exist
        raise DamagedError(f"{file}: is damaged") from error
