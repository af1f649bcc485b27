"""`python -m wavecoder` is the command `wavecoder`."""

from wavecoder.runs.cli import main

if __name__ == "__main__":
    main()
