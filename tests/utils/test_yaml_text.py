import math

import pytest
import yaml

from lit_cnn.utils.yaml_text import DuplicateKeyError, dump, load

NASTY = [
    "🐱", "𠮷", "a\x85b", "a\u2028b", "\ufeffx", "a\x00b", "\x07", "\x7f", "a\tb", "a\nb", " a ", "\udce9t\udcff",
    "\ud83d\ude00", "1e5", "1e-5", "1.5", "0x1F", "0o17", "1_000", "no", "on", "Yes", "null", "~", "", "12:30",
    "2024-01-01", "#tag", "[x]", "{a: 1}", "it's", 'say "x"', "a: b", "- a", "*x", "&x", "!x", "%x", "@x", "`x`", "|",
    "<<", "=", "inf", ".inf", "nan", ".nan", "a\\b", "C:\\new", "x" * 500, "a b " * 100, "\u202e", "\ufffe",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_every_text_comes_back_as_value_item_and_key(text):
    content = {"value": text, "items": [text, [text]], "keys": {text: 1}}
    assert load(dump(content)) == content


@pytest.mark.parametrize("number", [1e-5, 1e5, 1e300, math.inf, -math.inf, 0.1, 1.0, 3, -0.0, True, None])
def test_numbers_keep_value_and_type(number):
    found = load(dump({"k": number}))["k"]
    assert (found, type(found)) == (number, type(number))


def test_numbers_are_read_as_the_parser_of_settings_does():
    assert load("[1e-3, 5e-4, 1.0e-3, .5, 2024-01-01, 12:30]") == [1e-3, 5e-4, 1e-3, 0.5, "2024-01-01", 750]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: 1\nmodel: 2\ntrainer: 3\n", "trainer is there twice, in lines 1 and 3"),
        ("model:\n  lr: 1\n  wd: 2\n  lr: 3\n", "lr is there twice, in lines 2 and 4"),
        ("- {a: 1, a: 2}", "a is there twice, in lines 1 and 1"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_its_lines(text, message):
    with pytest.raises(DuplicateKeyError, match=message):
        load(text)


def test_merged_keys_are_not_twice():
    assert load("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_no_tag_builds_an_object():
    with pytest.raises(yaml.YAMLError):
        load("!!python/object/apply:os.getcwd []")
