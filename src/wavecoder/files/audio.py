"""Recordings in .wav and .flac files, through libsndfile."""

import struct
from collections.abc import Iterator
from pathlib import Path

from numpy import ndarray

from wavecoder.files.base import FileError, Stored, require_package


class Audio(Stored):
    """A recording of one channel in a .wav or .flac file."""

    suffixes = (".wav", ".flac")

    def __init__(self, path: Path, key: str | None = None) -> None:
        if key is not None:
            raise FileError(path, f"key={key}: chooses an array in .npz files; a recording has none")
        self.path = path
        self._soundfile = require_package(path, "soundfile", "audio")
        if path.suffix.lower() == ".wav":
            _check_wav(path)
        try:
            info = self._soundfile.info(str(path))
        except (self._soundfile.SoundFileError, RuntimeError) as error:
            raise FileError(path, f"is not a recording that libsndfile can read ({_reason(error)})") from error
        if info.channels != 1:
            kind = "stereo" if info.channels == 2 else f"{info.channels} channels"
            raise FileError(path, f"is {kind}; recordings of one channel (mono) are allowed")
        if info.samplerate <= 0:
            raise FileError(path, f"has a sampling rate of {info.samplerate} Hz; it must be above 0")
        if info.frames <= 0:
            raise FileError(path, "holds no samples")
        self.shape = (int(info.frames),)
        self.rate = float(info.samplerate)
        self.subtype = str(info.subtype)

    def blocks(self, size: int) -> Iterator[ndarray]:
        found = 0
        try:
            with self._soundfile.SoundFile(str(self.path)) as file:
                while len(block := file.read(size, dtype="float32")):
                    found += len(block)
                    yield block
        except (self._soundfile.SoundFileError, RuntimeError) as error:
            raise FileError(self.path, f"is damaged after sample {found} ({_reason(error)})") from error
        if found < self.shape[0]:
            raise FileError(self.path, f"is truncated: {found:,} of {self.shape[0]:,} samples")


def _check_wav(path: Path) -> None:
    """Refuse what libsndfile mends silently: a rate of 0 Hz, and a file that ends before its samples do."""
    with path.open("rb") as file:
        start = file.read(12)
        if not start:
            raise FileError(path, "is empty")
        if start[:4] != b"RIFF" or start[8:12] != b"WAVE":
            return  # libsndfile says what it is
        size = path.stat().st_size
        while len(header := file.read(8)) == 8:
            name, length = header[:4], struct.unpack("<I", header[4:])[0]
            if name == b"fmt " and length >= 16:
                _, _, rate = struct.unpack("<HHI", file.read(8))
                if rate == 0:
                    raise FileError(path, "has a sampling rate of 0 Hz; it must be above 0")
                file.seek(length - 8, 1)
            elif name == b"data":
                there = size - file.tell()
                if length not in (0, 0xFFFFFFFF) and there < length:  # those are of programs that did not know it
                    raise FileError(path, f"is truncated: {there:,} of {length:,} bytes of samples")
                return
            else:
                file.seek(length + length % 2, 1)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
