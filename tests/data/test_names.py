import pytest

from raysys.data.names import spellings


@pytest.mark.parametrize(
    "names",
    [
        ("spk0", "SPK0"),
        ("1", "01", "1.0", "1."),
        ("7", "7e0", "+7"),
        ("spk1", "spk01", "SPK001"),
        ("S1", "S1\u200b", "S\u200d1", "\ufeffS1", "S\u00ad1", "S1\ufe0f", "S\u34641".replace("\u3464", "\u3164")),
        ("Anna B", "anna  b", "Anna\u00a0B"),
        ("\uff33\uff11", "S1"),
        ("\ufb01n", "fin"),
        ("Weiss", "Wei\u00df"),
    ],
)
def test_spellings_of_one_name_are_found(names: tuple[str, ...]) -> None:
    assert spellings(["other", *names, "S10"]) == [names]


@pytest.mark.parametrize(
    "names",
    [
        ("spk1", "spk10", "spk2"),
        ("1", "10", "100", "1.5"),
        ("0", "00a", "a0"),
        ("F01", "M01"),
        ("1_0", "10"),
        ("a-b", "ab", "a_b"),
        ("Jose", "Jos\u00e9"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("9" * 5000, "9" * 5001),
        ("1e999", "1e998"),
        ("nan", "inf"),
    ],
)
def test_names_that_differ_are_left_alone(names: tuple[str, ...]) -> None:
    assert spellings(names) == []
