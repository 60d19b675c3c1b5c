import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.cli.config import (
    Difference,
    differences,
    expand_homes,
    find_config,
    flatten,
    print_differences,
    read_config,
    spell_models,
)
from lit_cnn.errors import UserError, nearest


def test_flatten_leaves_class_path_and_init_args_out_of_the_names():
    config = {
        "trainer": {"max_epochs": 3, "callbacks": None},
        "data": {"class_path": "lit_cnn.data.CIFAR10", "init_args": {"batch_size": 4, "augment": {"flip": 0.5}}},
    }
    assert flatten(config) == {
        "trainer.max_epochs": 3,
        "trainer.callbacks": None,
        "data": "CIFAR10",
        "data.batch_size": 4,
        "data.augment.flip": 0.5,
    }


def test_differences_name_the_flag_before_the_last_config_before_the_first():
    final = {"a.x": 1, "a.y": 2, "a.z": 3, "a.same": 0, "b": "Q"}
    before = {"a.x": 0, "a.y": 0, "a.z": 0, "a.same": 0, "b": "P"}
    found = differences(final, before, {"a.x"}, {"one.yaml": ["a.x", "a.y", "a.z"], "two.yaml": ["a.z"]})
    assert found == [
        Difference("a.x", 0, 1, "flag"),
        Difference("a.y", 0, 2, "one.yaml"),
        Difference("a.z", 0, 3, "two.yaml"),
        Difference("b", "P", "Q", "derived"),
    ]


def test_a_source_that_sets_the_name_itself_wins_over_one_that_sets_its_parent():
    final = {"data": "Folder", "data.size": 32, "data.flip": 1, "data.new": 2}
    found = differences(final, {}, {"data", "data.flip"}, {"c.yaml": ["data", "data.size", "data.flip"]})
    assert {row.name: row.source for row in found} == {
        "data": "flag",  # --data Folder, after the config's class
        "data.size": "c.yaml",
        "data.flip": "flag",
        "data.new": "flag",  # came with the class that the flag chose
    }


def test_the_table_shows_lists_and_nothing_as_they_are(capsys):
    print_differences([Difference("data.std", None, [0.5, 0.25], "flag")], "the defaults")
    shown = capsys.readouterr().out
    assert "settings that differ from the defaults" in shown
    assert "[0.5, 0.25]" in shown
    print_differences([], "x.ckpt")
    assert capsys.readouterr().out == "settings: as in x.ckpt\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1", "not valid YAML"), ("just text", "holds no settings"), ("\xff\xfe".encode("latin-1"), "not valid YAML")],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        read_config(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_config_names_those_that_are_there(tmp_path):
    (tmp_path / "there.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"no config file at .*thare.yaml: there are: .*there.yaml"):
        find_config(str(tmp_path / "thare.yaml"))


def test_nearest_offers_close_names_only():
    assert nearest("resnet81", ["resnet18", "vgg16"]) == ", did you mean 'resnet18'?"
    assert nearest("RESNET18", ["resnet18"]) == ", did you mean 'resnet18'?"
    assert nearest("zzz", ["resnet18"]) == ""


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ResNet18", "resnet18"),
        ("resnet-18", "resnet18"),
        ("LeNet", "lenet"),
        ("timm/ResNet18", "timm/ResNet18"),
        ("x", "x"),
    ],
)
def test_a_model_is_found_in_other_spellings(given, name, tmp_path):
    (tmp_path / "c.yaml").write_text(f"model: {given}")
    arguments = parse(["fit", f"--config={tmp_path / 'c.yaml'}", "--backbone", given])
    spell_models(arguments)
    assert arguments.flags == [("--model.backbone", name)]
    assert [content["model"] for content in arguments.contents.values()] == [{"backbone": name}]


def test_a_class_called_like_the_home_folder_keeps_its_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    settings = {"data": {"init_args": {"data_dir": "~/photos", "class_names": ["cat", "~"], "paths": ["~/a.png"]}}}
    expected = {"data_dir": "/home/me/photos", "class_names": ["cat", "~"], "paths": ["/home/me/a.png"]}
    assert expand_homes(settings)["data"]["init_args"] == expected
