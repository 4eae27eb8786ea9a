"""ffmpeg's log on stderr: the source's metadata, packet counts and complaints.

In: the lines of one run at LOG_LEVEL. Out: an :class:`FfmpegLog`. This is the only source of metadata: ffprobe may be
absent. Shards hold the complaints and must be byte-identical in every build, but ffmpeg's threads write in any order.
So the kept complaints and their order depend only on the set of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LOG_LEVEL = "repeat+level+verbose"
"""For -loglevel: every line has its level, and no line is replaced by "last message repeated"."""
MAX_COMPLAINTS = 5
"""Number of distinct lines that are kept."""
MAX_COMPLAINT_CHARS = 200

_LINE = re.compile(
    r"(?P<component>(?:\[[^\]]*? @ (?:0x)?[0-9a-fA-F]+\] )*)"
    r"\[(?P<level>panic|fatal|error|warning|info|verbose|debug|trace)\] (?P<text>.*)"
)
_ADDRESS = re.compile(r" @ (?:0x)?[0-9a-fA-F]+(?=\])")
_NUMBERS = re.compile(r"[-+]?\d+(?:\.\d+)?")
_SEVERITIES = ("panic", "fatal", "error", "warning")
_MAX_DISTINCT = 1000
_NO_COMPLAINTS = (
    "Task finished with error code",
    "Terminating thread with return code",
    "Cannot determine format of input",
    "Could not open encoder before EOF",
    "Nothing was written into output file",
    "Error opening input file",
    "Error opening output file",
    "Error parsing options for output file",
    "Failed to set value",
    "To ignore this, add a trailing",
    "deprecated pixel format used",
    "No accelerated colorspace conversion",
)
"""Starts of lines that repeat an error or do not concern the video."""
_OTHER_STREAMS = ("[aist#", "[sist#", "[dist#")
"""Components of streams that are not decoded."""

_DURATION = re.compile(r"\s*Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?),")
_STREAM = re.compile(r"\s*Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (\w+): (.*)")
_MAPPING = re.compile(r"\s*Stream #0:(\d+) -> #0:0\b")
_ROTATION = re.compile(r"\s*display ?matrix: rotation of (-?[\d.]+) degrees", re.IGNORECASE)
_SIZE = re.compile(r", (\d+)x(\d+)(?=[ ,]|$)")
_RATE = re.compile(r", ([\d.]+)(k?) (fps|tbr)\b")
_COUNTS = re.compile(r"\s*Input stream #0:(\d+) \(video\): (\d+) packets read \(\d+ bytes\); (\d+) frames decoded")
_NTSC_RATES = tuple(base * 1000 / 1001 for base in (24, 30, 48, 60, 120, 240))


@dataclass(kw_only=True)
class Stream:
    """One stream of the source, as ffmpeg lists it."""

    medium: str
    """Video, Audio, Subtitle, Data or Attachment."""
    description: str
    """The rest of its line: codec, pixel format, size, rates."""
    rotation_degrees: float = 0.0

    @property
    def codec(self) -> str:
        """Short name of the codec, e.g. "h264"; "none" if ffmpeg does not know it."""
        return re.split(r"[ ,]", self.description, maxsplit=1)[0]

    @property
    def fps(self) -> float:
        """Mean frame rate; 0.0 if unknown.

        It is ffmpeg's `fps`, but at most its `tbr`, the lowest rate that hits every timestamp: a higher mean comes from
        a damaged duration. ffmpeg rounds the NTSC rates to two decimals; here they are exact.
        """
        rates = [float(number) * (1000 if kilo else 1) for number, kilo, _ in _RATE.findall(self.description)]
        rate = min(rates, default=0.0)
        return next((exact for exact in _NTSC_RATES if round(exact, 2) == rate), rate)

    @property
    def is_attached_picture(self) -> bool:
        """Whether it is a cover picture, not a video."""
        return "(attached pic)" in self.description

    @property
    def is_default(self) -> bool:
        """Whether players choose it if there are several of its medium."""
        return "(default)" in self.description

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels after rotation; (0, 0) if unknown."""
        match = _SIZE.search(self.description)
        width, height = (int(match[1]), int(match[2])) if match else (0, 0)
        return (height, width) if round(self.rotation_degrees / 90) % 2 else (width, height)


@dataclass(kw_only=True)
class FfmpegLog:
    """The log of one ffmpeg run; :meth:`read` fills it."""

    source: str
    """The input as given to ffmpeg; removed from every kept line."""
    container: str = ""
    """ffmpeg's name of the source's format, e.g. "mov,mp4,m4a,3gp,3g2,mj2"; empty if it could not be opened."""
    streams: dict[int, Stream] = field(default_factory=dict)
    """Streams of the source by index; empty if it could not be opened."""
    duration_seconds: float | None = None
    """From the container."""
    mapped: int | None = None
    """Index of the stream that was decoded."""
    packets_read: int | None = None
    frames_decoded: int | None = None
    """Of the mapped stream; None if ffmpeg ended before it counted."""
    was_asked_to_stop: bool = False
    """Whether a signal stopped ffmpeg early; it then ends normally, with the frames so far."""
    _section: str = ""
    _complaints: dict[tuple[int, str], str] = field(default_factory=dict)
    """(severity, line without its numbers) -> the first such line in sorted order."""

    @property
    def video(self) -> Stream | None:
        """The stream that was decoded."""
        return None if self.mapped is None else self.streams.get(self.mapped)

    @property
    def default_video(self) -> int | None:
        """Index of the video stream to decode: the first default one, else the first; None if there is none."""
        videos = [
            (not stream.is_default, index)
            for index, stream in self.streams.items()
            if stream.medium == "Video" and not stream.is_attached_picture
        ]
        return min(videos)[1] if videos else None

    @property
    def complaints(self) -> tuple[str, ...]:
        """The MAX_COMPLAINTS most severe complaints; lines that differ only in numbers count as one."""
        ordered = sorted((severity, line) for (severity, _), line in self._complaints.items())
        return tuple(dict.fromkeys(line for _, line in ordered))[:MAX_COMPLAINTS]

    def says(self, words: str) -> bool:
        """Whether any complaint contains these words."""
        return any(words in line for line in self._complaints.values())

    def read(self, lines: Iterable[bytes]) -> None:
        """Read the lines of stderr to their end."""
        for line in lines:
            self._read_line(line.decode("utf-8", errors="surrogateescape").rstrip("\r\n"))

    def _read_line(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:  # metadata with line breaks
            return
        component, level, text = match.group("component", "level", "text")
        if level in _SEVERITIES:
            self._add_complaint(level, component, text)
        elif text.startswith("Exiting normally, received signal"):
            self.was_asked_to_stop = True
        elif level == "info" and not component:
            self._read_metadata(text)
        elif level == "verbose":
            self._read_counts(text)

    def _add_complaint(self, level: str, component: str, text: str) -> None:
        if text.startswith(_NO_COMPLAINTS) or component.startswith(_OTHER_STREAMS):
            return
        line = _ADDRESS.sub("", component) + text
        line = line.replace(f"file:{self.source}", "the video").replace(self.source, "the video")
        line = "".join(character if character.isprintable() else " " for character in line)[:MAX_COMPLAINT_CHARS]
        kind = (_SEVERITIES.index(level), _NUMBERS.sub("#", line))
        if kind in self._complaints or len(self._complaints) < _MAX_DISTINCT:
            self._complaints[kind] = min(line, self._complaints.get(kind, line))

    def _read_metadata(self, text: str) -> None:
        if text.startswith(("Input #0", "Output #0", "Stream mapping")):
            self._section = text.split(maxsplit=1)[0]
            if self._section == "Input":
                self.container = text.removeprefix("Input #0, ").partition(", from ")[0]
        elif self._section == "Input":
            if (match := _STREAM.match(text)) is not None:
                self.streams[int(match[1])] = Stream(medium=match[2], description=match[3])
            elif (match := _ROTATION.match(text)) is not None and self.streams:
                self.streams[max(self.streams)].rotation_degrees = float(match[1])
            elif (match := _DURATION.match(text)) is not None:
                self.duration_seconds = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
        elif self._section == "Stream" and (match := _MAPPING.match(text)) is not None:
            self.mapped = int(match[1])

    def _read_counts(self, text: str) -> None:
        match = _COUNTS.match(text)
        if match is not None and int(match[1]) == self.mapped:
            self.packets_read, self.frames_decoded = int(match[2]), int(match[3])
