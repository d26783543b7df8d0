"""Who says what, and how, in the demo corpus: a pure function of nothing.

Why a made corpus at all: IEMOCAP needs a signed licence, and a stranger should see the whole system
learn within minutes. Why these numbers: neither the words nor the voice alone may be enough. In
half of the utterances the words tell the emotion, in the other half they are drawn without regard
to it, so text alone can reach 0.5 + 0.5 x 0.25 = 0.625. The voice tells it always, but its cues
overlap. Only both together pass 0.8.

All that is random comes from one `random.Random` through integers, sums and products of floats,
which are the same on every machine; nothing here calls numpy or the mathematical library (`gauss`
would).
"""

import random
from dataclasses import dataclass
from typing import Literal

Emotion = Literal["ang", "hap", "neu", "sad"]

EMOTIONS: tuple[Emotion, ...] = ("ang", "hap", "neu", "sad")
N_SESSIONS = 5

_SEED = 20240607
_TURNS_PER_DIALOG = 30

# Utterances of each emotion (columns as EMOTIONS) by session (rows). Rows add up to 120, columns to
# 150: mildly unbalanced, like a real corpus. All even, so that exactly half of each cell can have
# telling words.
_COUNTS = (
    (26, 32, 34, 28),
    (32, 28, 30, 30),
    (30, 34, 26, 30),
    (34, 28, 28, 30),
    (28, 28, 32, 32),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One person: an eSpeak voice and how this person speaks on an average day."""

    voice: str
    pitch: int = 50
    rate_wpm: int = 172
    loudness_db: int = 0


# One woman and one man a session. Voices without breath noise, because eSpeak takes that from the C
# library's rand().
_SPEAKERS: tuple[tuple[Speaker, Speaker], ...] = (
    (Speaker(voice="en-us+f1", pitch=46), Speaker(voice="en-us+m1", loudness_db=1)),
    (Speaker(voice="en+linda", rate_wpm=168), Speaker(voice="en-gb-scotland+m3", rate_wpm=166)),
    (Speaker(voice="en-gb-scotland+f4", loudness_db=-1), Speaker(voice="en-gb-x-rp+m7", pitch=54)),
    (Speaker(voice="en-gb-x-rp+steph", rate_wpm=174), Speaker(voice="en-029+m4", pitch=52)),
    (Speaker(voice="en-us+Annie", pitch=44), Speaker(voice="en-us+m8", rate_wpm=176)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How an utterance is spoken: four by eSpeak's parameters, the others on its waveform."""

    rate_wpm: int
    pitch: int
    """eSpeak's scale: 0 to 100, 50 is the voice's own."""
    pitch_range: int
    """eSpeak's scale: 0 is a monotone, 50 the voice's own, 100 lively."""
    word_gap: int
    """Extra pause between words, in units of 10 ms."""
    loudness_db: float
    """Over the level that the corpus calls 0."""
    tremor_percent: int
    """Depth of a slow (5 Hz) wavering of the loudness, as in a voice near tears."""
    lilt_percent: int
    """Depth of a quicker (11 Hz) wavering, as in a voice near laughter."""
    roughness_percent: int
    """Depth of a fast (25 Hz) wavering, as in a harsh voice."""
    brightness_percent: int
    """Coefficient of the first difference: above 0 the high frequencies gain, below 0 they lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One utterance: its place in the corpus, its emotion, its words and its delivery."""

    session: int
    dialog: str
    utterance: str
    emotion: Emotion
    label: str
    """As in IEMOCAP: half of the happy ones are `exc`, which four classes merge with `hap`."""
    telling: bool
    """Whether the words tell the emotion."""
    transcript: str
    voice: str
    delivery: Delivery
    pause_s: float
    """Silence of the dialog before this utterance."""
    ratings: tuple[tuple[int, int, int], tuple[int, int, int]]
    """Valence, activation, dominance (1 to 5) by two annotators; they do not shape the sound."""


# Twelve words an emotion, shared by all sessions: few enough that 400 utterances teach them to a
# model that starts from nothing.
_FEELINGS: dict[Emotion, tuple[str, ...]] = {
    "ang": (
        "angry", "furious", "mad", "annoyed", "outraged", "irritated", "hostile", "bitter",
        "livid", "offended", "disgusted", "enraged",
    ),
    "hap": (
        "happy", "glad", "delighted", "thrilled", "cheerful", "joyful", "excited", "proud",
        "pleased", "merry", "amused", "grateful",
    ),
    "neu": (
        "calm", "fine", "okay", "relaxed", "neutral", "indifferent", "settled", "steady",
        "patient", "composed", "content", "ready",
    ),
    "sad": (
        "sad", "lonely", "miserable", "gloomy", "heartbroken", "hopeless", "depressed",
        "sorry", "tearful", "unhappy", "weary", "crushed",
    ),
}  # fmt: skip
_TELLING = (
    "I am {a} about {topic}.",
    "I am {a}, so {b}.",
    "I feel {a} and {b}.",
    "We were {a} and {b} {time}.",
    "{name} is {a} about {topic}.",
    "{name} looked {a} and {b}.",
    "You know I am {a} {time}.",
    "It makes me {a} and {b}.",
)
# Few sentences and few words: each comes with several emotions, so a network cannot learn them by
# heart in place of listening.
_PLAIN = (
    "We talked about {topic} {time}.",
    "Can you look at {topic}?",
    "{name} asked me about {topic}.",
    "I left {topic} by the door.",
    "{name} called us {time}.",
    "They moved {topic} {time}.",
)
_FILLERS = {
    "topic": ("the letter", "the ticket", "the car", "the picture", "the report"),
    "time": ("today", "this morning", "on Monday", "last week"),
    "name": ("Anna", "Peter", "My brother", "The driver"),
}

# What an emotion does to the voice, in units of the spread within an emotion: rate, pitch, pitch
# range, loudness, tremor, lilt, roughness, brightness. Pitch says little because a stranger's own
# pitch is not known; rate and the three waverings are the same for every speaker. _CLARITY
# multiplies them all: the one number that says how hard the corpus is.
_CLARITY = 1.45
_SHIFT: dict[Emotion, tuple[float, ...]] = {
    "ang": (0.6, 0.0, 0.3, 0.8, -0.5, -0.5, 1.6, 0.5),
    "hap": (0.6, 0.6, 0.8, 0.3, -0.5, 1.6, -0.5, 0.2),
    "neu": (0.0, -0.2, -0.9, 0.0, -0.5, -0.5, -0.5, 0.0),
    "sad": (-1.1, -0.3, -0.4, -0.8, 1.6, -0.5, -0.5, -0.5),
}
_RATINGS: dict[Emotion, tuple[int, int, int]] = {
    "ang": (2, 4, 4),
    "hap": (4, 4, 3),
    "neu": (3, 3, 3),
    "sad": (2, 2, 2),
}


def demo_script() -> list[Line]:
    """The 600 utterances in the order in which they are spoken: by session, dialog and turn."""
    rng = random.Random(_SEED)
    scripted = _scripted_transcripts(rng)
    lines: list[Line] = []
    for session in range(1, N_SESSIONS + 1):
        turns = _turns(session, rng)
        for k, dialog in enumerate(_dialogs(session)):
            counts = [0, 0]
            for emotion, telling, sex in turns[k * _TURNS_PER_DIALOG : (k + 1) * _TURNS_PER_DIALOG]:
                if "script" in dialog:
                    transcript = rng.choice(scripted[emotion if telling else None])
                else:
                    transcript = _transcript(emotion if telling else None, rng)
                speaker = _SPEAKERS[session - 1][sex]
                lines.append(
                    Line(
                        session=session,
                        dialog=dialog,
                        utterance=f"{dialog}_{'FM'[sex]}{counts[sex]:03d}",
                        emotion=emotion,
                        label="exc" if emotion == "hap" and rng.random() < 0.5 else emotion,
                        telling=telling,
                        transcript=transcript,
                        voice=speaker.voice,
                        delivery=_delivery(emotion, speaker, rng),
                        pause_s=rng.randrange(2, 20) / 10,
                        ratings=(_rating(emotion, rng), _rating(emotion, rng)),
                    )
                )
                counts[sex] += 1
    return lines


def _dialogs(session: int) -> tuple[str, ...]:
    """Two improvised, two scripted; the letter after the session is who wore the markers."""
    names = ("F_impro01", "M_impro02a", "F_script01_1", "M_script02_1b")
    return tuple(f"Ses{session:02d}{name}" for name in names)


def _turns(session: int, rng: random.Random) -> list[tuple[Emotion, bool, int]]:
    """Emotion, telling words, sex (0 the woman) of each turn: dealt evenly, then shuffled."""
    turns = [
        (emotion, n % 2 == 0, (n // 2 + k) % 2)
        for k, (emotion, count) in enumerate(zip(EMOTIONS, _COUNTS[session - 1], strict=True))
        for n in range(count)
    ]
    rng.shuffle(turns)
    return turns


def _transcript(emotion: Emotion | None, rng: random.Random) -> str:
    """A sentence with words of that emotion, or, for None, one that says nothing about it."""
    template = rng.choice(_PLAIN if emotion is None else _TELLING)
    words = {slot: rng.choice(choices) for slot, choices in _FILLERS.items()}
    if emotion is not None:
        words["a"], words["b"] = rng.sample(_FEELINGS[emotion], 2)
    sentence = template.format(**words)
    return sentence[0].upper() + sentence[1:]


def _scripted_transcripts(rng: random.Random) -> dict[Emotion | None, list[str]]:
    """The scripted lines: few, so that they come back in other sessions, as IEMOCAP's do."""
    lines: dict[Emotion | None, list[str]] = {}
    for emotion in EMOTIONS:
        lines[emotion] = [_transcript(emotion, rng) for _ in range(30)]
    lines[None] = [_transcript(None, rng) for _ in range(20)]
    return lines


def _bell(rng: random.Random) -> float:
    """Nearly normal, mean 0, variance 1: a sum, because `gauss` needs the mathematical library."""
    return sum(rng.random() for _ in range(12)) - 6.0


def _delivery(emotion: Emotion, speaker: Speaker, rng: random.Random) -> Delivery:
    cues = [_CLARITY * shift + _bell(rng) for shift in _SHIFT[emotion]]
    rate, pitch, pitch_range, loudness, tremor, lilt, roughness, brightness = cues
    return Delivery(
        rate_wpm=_within(speaker.rate_wpm + 5 + 22 * rate, 100, 280),
        pitch=_within(speaker.pitch + 12 * pitch, 0, 99),
        pitch_range=_within(50 + 24 * pitch_range, 0, 99),
        word_gap=_within(1 - 2 * rate, 0, 8),
        loudness_db=round(speaker.loudness_db + 3 * loudness, 1),
        tremor_percent=_within(20 + 20 * tremor, 0, 80),
        lilt_percent=_within(20 + 20 * lilt, 0, 80),
        roughness_percent=_within(20 + 20 * roughness, 0, 80),
        brightness_percent=_within(20 * brightness, -60, 60),
    )


def _within(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)


def _rating(emotion: Emotion, rng: random.Random) -> tuple[int, int, int]:
    valence, activation, dominance = (min(max(mean + rng.randrange(-1, 2), 1), 5) for mean in _RATINGS[emotion])
    return valence, activation, dominance
