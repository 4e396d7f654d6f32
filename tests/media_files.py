# SPDX-License-Identifier: Apache-2.0
"""What the fake cameras and microphones of test browsers show and say.

Made once, by espeak-ng, sox and ffmpeg, into `tests/.cache`, which ignores itself in git. Each end
of a call has its own voice and its own picture, so that a test can tell whom it hears: the island's
voice is low and the city's is high (`PITCH_HZ`), and both speak nearly all of the time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

End = Literal["island", "city"]

CACHE = Path(__file__).parent / ".cache"

PITCH_HZ: dict[End, tuple[float, float]] = {"island": (65, 135), "city": (180, 320)}
"""Where the median fundamental of each voice lies: 87 and 251 Hz in the files (autocorrelation, 50 ms
steps), with room for the codec and for losses."""

PICTURE_FPS = 15
PICTURE_SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one end's files are made."""

    voice: str
    pitch: int
    words: str
    picture: str


_RECIPES: dict[End, _Recipe] = {
    "island": _Recipe(
        voice="id",
        pitch=35,
        words=(
            "Selamat pagi, Dokter. Anak saya demam sudah tiga hari, dan napasnya cepat. "
            "Dia tidak mau makan, dan hanya minum sedikit. Semalam dia batuk terus, dan badannya "
            "panas sekali. Kami tinggal di pulau kecil, tiga jam dengan perahu dari rumah sakit. "
            "Bidan sudah memberi obat penurun panas, tetapi belum ada perubahan."
        ),
        picture="mandelbrot=size={size}:rate={fps}:start_scale=0.02:end_pts=900",
    ),
    "city": _Recipe(
        voice="en-us+f3",
        pitch=70,
        words=(
            "Good morning, I am the doctor on call. Please show me how the child is breathing. "
            "Hold the telephone a little lower, so that I can see the whole chest. "
            "How many times has he been drinking since yesterday evening? Has he had a fit, "
            "or has he been very sleepy? I am going to count his breaths for one minute now, "
            "and then I will tell you what to do next."
        ),
        picture="testsrc2=size={size}:rate={fps}",
    ),
}

_SPEECH_RATE_HZ = 48_000  # Opus's own rate: the browser need not resample
_PICTURE_S = 4


class MissingToolError(RuntimeError):
    """A program that makes the files is not installed."""


def speech(end: End) -> Path:
    """Return a WAV of about 20 s, 48 kHz mono, of this end's voice; made if it is not there.

    Chromium repeats it unless `%noloop` follows its path. Raises MissingToolError.
    """
    return _made(end, "speech", "wav", _make_speech)


def picture(end: End) -> Path:
    """Return a Y4M of 4 s, 640x480 at 15/s, 28 MB, of this end's moving picture.

    It runs forwards and backwards, so that its repetition is no scene cut (a cut costs a key frame).
    Y4M because Chromium plays MJPEG at 30/s whatever was meant. Made if it is not there. Raises
    MissingToolError.
    """
    return _made(end, "picture", "y4m", _make_picture)


def _made(end: End, kind: str, suffix: str, make: Callable[[_Recipe, Path], None]) -> Path:
    """Return the file's path, making it under a lock: several test runs may want it at once."""
    recipe = json.dumps([asdict(_RECIPES[end]), _PICTURE_S, PICTURE_SIZE, PICTURE_FPS])
    mark = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    path = CACHE / f"{kind}-{end}-{mark}.{suffix}"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", "utf-8")
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_name(f".{path.name}")
            make(_RECIPES[end], unfinished)
            unfinished.rename(path)
    return path


def _make_speech(recipe: _Recipe, path: Path) -> None:
    raw = path.with_suffix(".raw.wav")
    _run("espeak-ng", "-v", recipe.voice, "-p", str(recipe.pitch), "-s", "150", "-w", str(raw),
         recipe.words)  # fmt: skip
    # Long pauses out, so that silence means a fault; both voices peak at -3 dB.
    _run("sox", str(raw), "-t", "wav", "-r", str(_SPEECH_RATE_HZ), "-c", "1", "-b", "16", str(path),
         "silence", "-l", "1", "0.05", "1%", "-1", "0.25", "1%", "gain", "-n", "-3")  # fmt: skip
    raw.unlink()


def _make_picture(recipe: _Recipe, path: Path) -> None:
    source = recipe.picture.format(size="{}x{}".format(*PICTURE_SIZE), fps=PICTURE_FPS)
    there_and_back = "[0]split[there][b];[b]reverse[back];[there][back]concat"
    _run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-t", str(_PICTURE_S / 2), "-i", source,
         "-filter_complex", there_and_back, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", str(path))  # fmt: skip


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise MissingToolError(f"{command[0]} is not installed (Debian: apt install {command[0]})")
    subprocess.run(command, check=True, capture_output=True, timeout=60)
