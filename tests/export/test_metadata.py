"""Metadata of exported files as text."""

from __future__ import annotations

from lit_cnn.checkpoint.record import read_record
from lit_cnn.export.metadata import describe, from_text, to_text
from lit_cnn.utils.files import file_checksum


def test_it_comes_back_from_text_and_leaves_other_programs_text_alone(trained):
    path = trained / "checkpoints" / "best.ckpt"
    metadata = describe(read_record(path), "decoded", "flip")
    assert metadata["checkpoint_sha256"] == file_checksum(path)
    assert metadata["imgsz"] == [28, 28]
    assert metadata["mode"] == "L"
    texts = to_text(metadata)
    assert all(isinstance(text, str) for text in texts.values())
    assert from_text({**texts, "stride": "thirty-two", "checkpoint": "1.ckpt"}) == {
        **metadata,
        "stride": "thirty-two",
        "checkpoint": "1.ckpt",
    }
