"""Make the report of a sweep, also of one that is not complete: `python src/report.py outputs/sweeps/…`."""

import argparse
from pathlib import Path


def main() -> None:
    """Write report.html and report.md into the folder given and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="folder of the sweep")
    folder = parser.parse_args().sweep

    from wavecoder import commandline
    from wavecoder.report import write_report  # torch takes seconds to import
    from wavecoder.settings import SettingError

    try:
        print(f"The report is {write_report(folder)}")
    except SettingError as error:
        commandline.refuse(error)


if __name__ == "__main__":
    main()
