"""Images of every kind through complete commands: read correctly, or named, or skipped and counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lit_cnn.cli.main import main

from .children import Forked
from .image_sets import BOMBS, DATA, FIT, write_bad, write_good, write_set


def listed(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["path", "reason"]
    return dict(rows)


def test_every_kind_of_image_is_trained_on_or_skipped_counted_and_listed(workdir, capsys):
    write_set({"train/cat": 14, "train/dog": 14, "val/cat": 2, "val/dog": 2, "test/cat": 3, "test/dog": 3})
    good = write_good(Path("set/train/cat"))
    bad = {f"train/dog/{name}" for name in write_bad(Path("set/train/dog"))}
    Path("set/test/cat/zero.jpg").write_bytes(b"")
    main(["fit", *FIT, "--data.on_bad_image=skip"])
    printed = capsys.readouterr()
    assert len(good) == 8 + 14
    run = Path("lightning_logs/version_0")
    found = listed(run / "bad_images.csv")
    assert set(found) == {*bad, "test/cat/zero.jpg"}
    assert "more than 89,478,485" in found["train/dog/bomb.png"]
    assert found["train/dog/dangling.jpg"] == "there is no such file"
    assert not any("\n" in reason for reason in found.values())
    main(["test", "--ckpt_path=best"])
    printed = capsys.readouterr()
    assert "test: 6 images, 1 skipped" in printed.out
    metrics = json.loads((run / "test" / "metrics.json").read_text())
    assert (metrics["images"], metrics["skipped_images"]) == (6, 1)
    assert set(listed(run / "test" / "bad_images.csv")) == {"test/cat/zero.jpg"}
    main(["predict", "--ckpt_path=best", "set/test/cat", "set/test/dog"])
    assert "6 predictions, 1 skipped" in capsys.readouterr().out
    assert set(listed(run / "predict" / "bad_images.csv")) == {"set/test/cat/zero.jpg"}
    # without them there is nothing to list
    for path in Path("set").rglob("*"):
        if path.relative_to("set").as_posix() in found:
            path.unlink()
    main(["fit", *FIT, "--data.on_bad_image=skip"])
    assert not Path("lightning_logs/version_1/bad_images.csv").exists()


def test_each_bad_image_alone_stops_a_run_of_the_error_policy_with_its_name(workdir, fails):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    (Path("all")).mkdir()
    for name in write_bad(Path("all")):
        file = Path("set/train/cat", name)
        Path("all", name).rename(file)
        line = fails("fit", *FIT)
        assert f"cannot read image {file}: " in line
        file.unlink()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            {"train/dog": 5},
            "set: 5 of the 9 images of class dog cannot be read, too many to skip: train/dog/bad0.",
        ),
        ({"val/cat": 1, "val/dog": 1}, "set: 2 of the 2 images of the val split cannot be read, too many to skip: "),
    ],
)
def test_losing_most_of_a_class_or_all_of_a_part_is_refused(broken, message, workdir, fails):
    parts = {"train/cat": 4, "train/dog": 4}
    write_set(parts if "val/cat" in broken else {**parts, "val/cat": 1})
    for name, count in broken.items():
        Path("set", name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Path("set", name, f"bad{i}.jpg").write_bytes(b"")
    assert message in fails("fit", *FIT, "--data.on_bad_image=skip")
    assert message in fails("prepare", *DATA, "--data.on_bad_image=skip")
    assert not list(Path("lightning_logs").glob("*"))


def test_prepare_lists_broken_images_and_exits_with_an_error_where_a_run_would(workdir, capsys):
    write_set({"train/cat": 4, "train/dog": 5, "test/cat": 1, "test/dog": 2})
    main(["prepare", *DATA])
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()] == [
        ["class", "train", "val", "test"],
        ["cat", "3", "1", "1"],
        ["dog", "4", "1", "2"],
        ["all", "7", "2", "3"],
        ["all", "12", "images", "can", "be", "read"],
    ]
    Path("set/train/dog/bad.jpg").write_bytes(b"")
    Path("config.yaml").write_text("data: {class_path: ImageFolder, init_args: {data_dir: set}}\nmodel: {lr: 1}\n")
    with pytest.raises(SystemExit) as stop:
        main(["prepare", "-c", "config.yaml"])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert "train/dog/bad.jpg: it is empty or no image of a known format" in printed.out.splitlines()
    assert "error: 1 of 13 images cannot be read, listed above" in printed.err
    main(["prepare", "-c", "config.yaml", "--data.on_bad_image=skip"])
    assert "1 of 13 images cannot be read, and are skipped" in capsys.readouterr().out
    main(["prepare", "--data=Digits"])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "1,259", "179", "359"]


def test_prepare_refuses_settings_that_are_not_the_datas(workdir, fails):
    assert fails("prepare", *DATA, "--lr=3") == "--model.lr has no effect on prepare: leave it out"
    assert "leave --ckpt_path and --resume out" in fails("prepare", *DATA, "--resume")
    assert "did you mean --data.val_fraction" in fails("prepare", *DATA, "--data.valfraction=3")
    assert "it must lie between 0 and 1" in fails("prepare", *DATA, "--data.augment.flip=3")
    assert "choose the images with --data NAME" in fails("prepare")


LIMITED = """
import resource, sys
from pathlib import Path
from lit_cnn.data.decoding.decode import check_image, read_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.decoding.formats import MAX_PIXELS
from lit_cnn.errors import UserError

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, resource.RLIM_INFINITY))  # the least takes 268 MB
for path in sorted(Path(sys.argv[1]).iterdir()):
    reason, lasting = check_image(path, MAX_PIXELS)
    assert "it claims" in reason and lasting, (path, reason)
    try:
        read_image(path, Geometry(32, 3))
    except UserError as error:
        assert f"{path}: it claims" in str(error), error
    else:
        raise AssertionError(path)
print("refused", len(list(Path(sys.argv[1]).iterdir())))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory is used")
def test_bombs_are_refused_by_their_header_with_no_memory_to_decode_them(workdir):
    Path("bombs").mkdir()
    for name, content in BOMBS.items():
        assert len(content) < 2000
        Path("bombs", name).write_bytes(content)
    output, error = Forked(LIMITED, "bombs").communicate(timeout=60)
    assert output.split() == ["refused", str(len(BOMBS))], error
