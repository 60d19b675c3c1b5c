"""Images of every kind through complete commands: read correctly, or named, or skipped and counted."""

from __future__ import annotations

import csv
import json
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.data.decoding import decode, verify
from tests.conftest import write_pictures

from .children import Forked, wait_for

FIT = ["--data=ImageFolder", "--data-dir=set", "--data.image_size=28", "--data.channels=3", "--batch-size=8"]
FIT += ["--model.backbone=lenet_maxpool", "--epochs=1", "--trainer.enable_progress_bar=false"]
DATA = [flag for flag in FIT if flag.startswith("--data")]


def png(width: int, height: int) -> bytes:
    """A PNG of a kilobyte whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    body = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 2**31, 0, 0, 54) + body + bytes(100)


def gif(width: int, height: int) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def tiled_tiff(width: int, height: int) -> bytes:
    """A TIFF of 16 x 16 pixels in a tile that claims any size."""
    content = zlib.compress(bytes(1001)).ljust(20)
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, width), (323, height), (324, 8), (325, len(content))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 28) + content + struct.pack("<H", len(tags)) + entries + bytes(4)


BOMBS = {
    "bomb.png": png(60_000, 60_000),
    "just too large.png": png(10_000, 10_000),
    "bomb.bmp": bmp(50_000, 50_000),
    "bomb.gif": gif(65_535, 65_535),
    "bomb.tif": tiff(60_000, 60_000),
    "bomb in a tile.tif": tiled_tiff(40_000, 40_000),
}


def write_good(folder: Path) -> list[str]:
    """One image of each kind that must be read correctly; returns their names."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 43, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = rgb.quantize(8)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(folder / "sixteen bits.png")
    palette.save(folder / "palette.png", transparency=3)
    palette.save(folder / "animated.gif", transparency=3, save_all=True, append_images=[rgb.quantize(4)])
    rgb.save(folder / "animated.png", save_all=True, append_images=[rgb])
    rgb.convert("RGBA").save(folder / "transparent.webp")
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.save(folder / "really a png.jpg", format="PNG")
    return sorted(path.name for path in folder.iterdir())


def write_bad(folder: Path) -> list[str]:
    """One file of each kind that cannot be shown; returns their names."""
    Image.effect_noise((60, 60), 80).convert("RGB").save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "float.tif").write_bytes(b"")
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "float.tif")
    (folder / "bomb.png").write_bytes(BOMBS["bomb.png"])
    return ["bomb.png", "circle.jpg", "cut.jpg", "dangling.jpg", "empty.png", "float.tif", "text.jpg"]


def write_set(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        write_pictures(Path("set", name), count)


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
from lit_cnn.data.decoding.decode import Geometry, check_image, read_image
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


@pytest.mark.parametrize("error", [RuntimeError("codec broke"), SystemError("tile"), MemoryError()], ids=repr)
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_error_in_a_decoding_thread_is_one_line_with_the_file(error, policy, workdir, fails, monkeypatch):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    real = decode._decode

    def broken(path, *args):
        if str(path).endswith("train/cat/02.jpg"):
            raise error
        return real(path, *args)

    monkeypatch.setattr(decode, "_decode", broken)  # not what the scan calls: the file turns bad after it
    line = fails("fit", *FIT, "--workers=2", f"--data.on_bad_image={policy}")
    reason = "now: not enough memory; " if isinstance(error, MemoryError) else f": {error}; "
    assert f"cannot read image set/train/cat/02.jpg{' ' * reason.startswith('now')}{reason}" in line


def test_a_scan_short_of_memory_or_files_stops_and_calls_no_image_broken(workdir, fails, monkeypatch):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    for error in (MemoryError(), OSError(24, "Too many open files")):

        def short(*args, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(decode, "to_channels", short)
            line = fails("fit", *FIT, "--data.on_bad_image=skip")
        assert "cannot read image set/train/cat/00.jpg now: " in line
        assert "smaller --workers" in line
    main(["prepare", *DATA, "--data.on_bad_image=skip"])


CRASHING = """
import ctypes, sys
from lit_cnn.cli.main import main
from lit_cnn.data.decoding import decode

real = getattr(decode, sys.argv[1])

def crash(path, *args):
    if str(path).endswith("train/cat/02.jpg"):
        ctypes.string_at(0)
    return real(path, *args)

setattr(decode, sys.argv[1], crash)
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [("_decode", ["fit", *FIT, "--workers=2"]), ("_decode_fully", ["prepare", *DATA])],
    ids=["training", "scan"],
)
def test_a_segmentation_fault_in_a_decoder_names_the_file(function, words, workdir):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    child = Forked(CRASHING, function, *words)
    _, error = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in error
    named = [line for line in error.splitlines() if "_while_reading_this_file" in line]
    assert len(named) == 1
    assert 'File "set/train/cat/02.jpg", ' in named[0]


SLOW = """
import sys, time
from pathlib import Path
from lit_cnn.cli.main import main
from lit_cnn.data.decoding import verify

real, seen = verify.check_image, []

def slow(path, max_pixels):
    seen.append(path)
    if len(seen) > 20:
        Path("waiting").touch()
        time.sleep(0.3)
    return real(path, max_pixels)

verify.check_image = slow
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["prepare", "fit"])
def test_ctrl_c_during_the_scan_keeps_the_verdicts_so_far(command, workdir, monkeypatch, capsys):
    write_set({"train/cat": 25, "train/dog": 25, "val/cat": 1, "val/dog": 1})
    Path("set/train/cat/bad.jpg").write_bytes(b"")
    words = [command, *(FIT if command == "fit" else DATA), "--data.on_bad_image=skip", "--workers=2"]
    child = Forked(SLOW, *words)
    wait_for(workdir / "waiting", child)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert child.returncode == 130, error
    assert "Traceback" not in error
    again: list[str] = []
    real = verify.check_image
    monkeypatch.setattr(verify, "check_image", lambda path, limit: (again.append(str(path)), real(path, limit))[1])
    main(["prepare", *DATA, "--data.on_bad_image=skip"])
    assert 0 < len(again) <= 53 - 18  # two threads may not have handed in what they had
    assert "1 of 53 images cannot be read" in capsys.readouterr().out


TORN = """
import os, sys, time
from pathlib import Path
from lit_cnn.data.decoding.verify import find_broken

def wait(part, store):
    Path("waiting").touch()
    time.sleep(60)

os.replace = wait
find_broken(Path("set"), ["cat/00.jpg", "cat/bad.jpg"], 10**6, 1)
"""


def test_verdicts_killed_while_written_are_not_used(workdir, monkeypatch):
    write_set({"cat": 1})
    Path("set/cat/bad.jpg").write_bytes(b"")
    child = Forked(TORN)
    wait_for(workdir / "waiting", child)
    child.kill()
    child.communicate(timeout=30)
    paths = ["cat/00.jpg", "cat/bad.jpg"]
    assert list(verify.find_broken(Path("set"), paths, 10**6, 1)) == ["cat/bad.jpg"]
    monkeypatch.setattr(verify, "check_image", None)
    assert list(verify.find_broken(Path("set"), paths, 10**6, 1)) == ["cat/bad.jpg"]  # now they are there
