"""Script of the demo corpus, who says what and how: deterministic, without inputs.

Why a synthetic corpus: IEMOCAP needs a signed licence, and a newcomer should see the whole system learn within
minutes. Why these numbers: neither words nor voice alone may suffice. In half of the utterances the words reveal the
emotion, in the other half they are drawn independently of it, so text alone can reach 0.5 + 0.5 x 0.25 = 0.625. The
voice always carries the emotion, but its cues overlap. Only the two together exceed 0.8.

All randomness comes from one `random.Random`, through integers, sums and products of floats, which are identical on
every machine; nothing here calls numpy or the math library (`gauss` would).
"""

import random
from dataclasses import dataclass
from typing import Literal

Emotion = Literal["ang", "hap", "neu", "sad"]

EMOTIONS: tuple[Emotion, ...] = ("ang", "hap", "neu", "sad")
N_SESSIONS = 5

_SEED = 20240607
_TURNS_PER_DIALOG = 30

# Number of utterances per session (rows) and emotion (columns, as EMOTIONS). Rows add up to 120, columns to
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
    """One person: an eSpeak voice and this person's default delivery."""

    voice: str
    pitch: int = 50
    rate_wpm: int = 172
    loudness_db: int = 0


# One woman and one man per session. Voices without breath noise, because eSpeak draws that from the C
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
    """How an utterance is spoken: four values are eSpeak parameters, the others are applied to the waveform."""

    rate_wpm: int
    pitch: int
    """eSpeak's scale: 0 to 100, where 50 is the voice's default."""
    pitch_range: int
    """eSpeak's scale: 0 is a monotone, 50 the voice's default, 100 lively."""
    word_gap: int
    """Extra pause between words, in units of 10 ms."""
    loudness_db: float
    """Relative to the corpus's reference level."""
    tremor_percent: int
    """Depth of a slow (5 Hz) amplitude modulation, as in a voice near tears."""
    lilt_percent: int
    """Depth of a faster (11 Hz) amplitude modulation, as in a voice near laughter."""
    roughness_percent: int
    """Depth of a fast (25 Hz) amplitude modulation, as in a harsh voice."""
    brightness_percent: int
    """Coefficient of a first-difference filter: above 0 it boosts high frequencies, below 0 it cuts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One utterance: its position in the corpus, emotion, words and delivery."""

    session: int
    dialog: str
    utterance: str
    emotion: Emotion
    label: str
    """As in IEMOCAP: half of the happy utterances are `exc`, which the four-class setup merges with `hap`."""
    telling: bool
    """Whether the words reveal the emotion."""
    transcript: str
    voice: str
    delivery: Delivery
    pause_s: float
    """Silence before this utterance in the dialog."""
    ratings: tuple[tuple[int, int, int], tuple[int, int, int]]
    """Valence, activation, dominance (1 to 5) from two annotators; they do not affect the audio."""


# Twelve words per emotion, shared by all sessions: few enough for a model trained from scratch to learn them from
# 400 utterances.
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
# Few sentences and few words: each occurs with several emotions, so a network cannot memorise them instead of using
# the audio.
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

# How an emotion shifts the voice, in units of the within-emotion spread: rate, pitch, pitch range, loudness, tremor,
# lilt, roughness, brightness. Pitch carries little, because an unseen speaker's baseline pitch is unknown; rate and
# the three modulations are the same for every speaker. _CLARITY scales them all: the one number that sets how hard
# the corpus is.
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
    """The 600 utterances in the order they are spoken: by session, dialog and turn."""
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
    """Two improvised, two scripted; the letter after the session says who wore the motion-capture markers."""
    names = ("F_impro01", "M_impro02a", "F_script01_1", "M_script02_1b")
    return tuple(f"Ses{session:02d}{name}" for name in names)


def _turns(session: int, rng: random.Random) -> list[tuple[Emotion, bool, int]]:
    """Emotion, telling words, sex (0: woman) of each turn: dealt evenly, then shuffled."""
    turns = [
        (emotion, n % 2 == 0, (n // 2 + k) % 2)
        for k, (emotion, count) in enumerate(zip(EMOTIONS, _COUNTS[session - 1], strict=True))
        for n in range(count)
    ]
    rng.shuffle(turns)
    return turns


def _transcript(emotion: Emotion | None, rng: random.Random) -> str:
    """A sentence with words of that emotion, or, for None, one that carries no information about it."""
    template = rng.choice(_PLAIN if emotion is None else _TELLING)
    words = {slot: rng.choice(choices) for slot, choices in _FILLERS.items()}
    if emotion is not None:
        words["a"], words["b"] = rng.sample(_FEELINGS[emotion], 2)
    sentence = template.format(**words)
    return sentence[0].upper() + sentence[1:]


def _scripted_transcripts(rng: random.Random) -> dict[Emotion | None, list[str]]:
    """The scripted lines: few, so that they recur across sessions, as IEMOCAP's do."""
    lines: dict[Emotion | None, list[str]] = {}
    for emotion in EMOTIONS:
        lines[emotion] = [_transcript(emotion, rng) for _ in range(30)]
    lines[None] = [_transcript(None, rng) for _ in range(20)]
    return lines


def _bell(rng: random.Random) -> float:
    """Approximately normal, mean 0, variance 1: a sum of uniforms, because `gauss` needs the math library."""
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
