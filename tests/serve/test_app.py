"""Answers of the server: those of ``lit-cnn predict``, one by one and in batches; heat maps; one-line refusals."""

from __future__ import annotations

import base64
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.checkpoint_data import data_of
from lit_cnn.cli.exported_model import read_model
from lit_cnn.cli.main import main
from lit_cnn.cli.serve_run import open_model
from lit_cnn.data.pictures import read_images
from lit_cnn.export import formats
from lit_cnn.serve.models import TrainingPictures, answer_rows
from tests.cli.helpers import QUIET, rows
from tests.conftest import TINY
from tests.export.eager_format import EAGER
from tests.serve.helpers import Brightness, client_of, picture, png_bomb, write_kinds

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Pictures of many kinds, the rows that predict writes for them to CSV, and those to JSON lines."""
    folder = tmp_path_factory.mktemp("predicted")
    files = write_kinds(folder / "photos")
    run = shutil.copytree(trained, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", "photos", "--predictions=all.jsonl", QUIET]
        main(["predict", *words])
    table = rows(run / "predict" / "predictions.csv")
    return files, table, [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]


def test_answers_are_those_of_predict(lenet, predicted):
    files, table, lines = predicted
    client = client_of(lenet)
    for file, row, line in zip(files, table, lines, strict=True):
        assert row["file"] == line["file"] == f"photos/{file.name}"
        answer = client.post("/api/predict", content=file.read_bytes(), headers=JPEG).json()
        assert answer.keys() == line.keys() - {"file", "true", "correct"}
        assert answer["predicted"] == row["predicted"]
        assert answer["prediction_set"] == line["prediction_set"]
        assert answer["ood"] == line["ood"]
        assert answer["probability"] == pytest.approx(float(row["probability"]), abs=2e-6)
        # in standard deviations of a distance, which are small: rounding of another batch size shows
        assert answer["ood_score"] == pytest.approx(float(row["ood_score"]), abs=2e-4)
        assert answer["probabilities"] == pytest.approx(
            {name: float(row[name]) for name in lenet.class_names}, abs=2e-6
        )


def test_an_exported_file_gives_the_answers_of_its_checkpoint(trained, predicted, workdir, monkeypatch):
    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER)
    main(["export", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--out=models", "--max-images=3"])
    model = open_model(read_model(workdir / "models" / "best.onnx"), "cpu", 1_000_000)
    client = client_of(model)
    for file, line in zip(predicted[0], predicted[2], strict=True):
        answer = client.post("/api/predict", files={"image": file.open("rb")}).json()
        assert answer["probabilities"] == pytest.approx(line["probabilities"], abs=2e-5)
        assert answer["prediction_set"] == line["prediction_set"]
    refused = client.post("/api/predict?explain=true", content=predicted[0][0].read_bytes(), headers=JPEG)
    assert refused.status_code == 400
    assert "an exported file has no heat maps" in refused.json()["error"]


@pytest.mark.slow
def test_precision_and_test_time_augmentation_are_those_of_the_run(workdir):
    main(["fit", *TINY, "--epochs=1", "--trainer.precision=bf16-mixed", "--model.tta=flip"])
    files = write_kinds(workdir / "photos")
    main(["predict", "--ckpt_path=last", "photos", "--predictions=all.jsonl", QUIET])
    lines = [json.loads(line) for line in (workdir / "all.jsonl").read_text().splitlines()]
    checkpoint = workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    model = open_model(read_record(checkpoint), "cpu", 1_000_000)
    answers = model.answer([model.decode(file.read_bytes()) for file in files])  # one batch, as of predict
    for answer, line in zip(answers, lines, strict=True):
        assert answer["probabilities"] == pytest.approx(line["probabilities"], abs=2e-6)


def test_requests_that_come_together_are_answered_together_and_each_gets_its_own_answer(lenet, predicted):
    contents = [file.read_bytes() for file in predicted[0]] * 6
    expected = [line["probabilities"] for line in predicted[2]] * 6
    with client_of(lenet, batch_size=8, waiting=64) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda c: client.post("/api/predict", content=c, headers=JPEG).json(), contents))
    for answer, probabilities in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(probabilities, abs=2e-6)


def test_the_heat_map_of_a_class_is_a_picture_of_what_the_network_sees(lenet):
    client = client_of(lenet)
    content = picture(size=(40, 40))
    plain = client.post("/api/predict", content=content, headers=JPEG).json()
    assert "heat_map" not in plain
    found = client.post("/api/predict?label=7", content=content, headers=JPEG).json()
    assert found["explained"] == "7"
    assert found["probabilities"] == plain["probabilities"]
    kind, _, data = found["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == tuple(lenet.uploads.blank().shape[:0:-1])
    best = client.post("/api/predict?explain=true", content=content, headers=JPEG).json()
    assert best["explained"] == best["predicted"]
    assert best["heat_map"] is None or best["heat_map"] != best["picture"]
    assert "no class 'rose'" in client.post("/api/predict?label=rose", content=content, headers=JPEG).json()["error"]


def test_rows_of_many_classes_have_the_five_most_probable_and_those_of_labels_all():
    logits = torch.linspace(-1, 1, 120)[None]
    names = [f"c{k}" for k in range(120)]
    (row,) = answer_rows(names, logits, False, {"temperature": 0.5, "threshold": 0.2})
    assert list(row["probabilities"]) == ["c119", "c118", "c117", "c116", "c115"]
    assert row["probability"] == pytest.approx(float((logits / 0.5).softmax(1)[0, -1]), abs=1e-6)
    (row,) = answer_rows(names, logits, True, {})
    assert len(row["probabilities"]) == 120
    assert row["predicted"] == names[60:]
    with pytest.raises(ArithmeticError):
        answer_rows(["a", "b"], torch.tensor([[float("nan"), 0.0]]), False, {})


def test_the_nearest_training_pictures_of_one_are_itself(lenet, trained, monkeypatch):
    client = client_of(lenet)
    refused = client.post("/api/predict?nearest=true", content=picture(), headers=JPEG)
    assert (refused.status_code, refused.json()["error"]) == (400, "this server has read no training pictures")
    data = data_of(read_record(trained / "checkpoints" / "best.ckpt"), None, [])
    monkeypatch.setattr(lenet, "pictures", TrainingPictures(data, lenet.task))
    assert len(lenet.pictures) == 1000
    index = lenet.pictures._found.indices[500]
    ((_, pixels),) = read_images(data, "train", [index])
    content = io.BytesIO()
    Image.fromarray(pixels[0]).save(content, "PNG")
    found = client.post("/api/predict?nearest=true", content=content.getvalue(), headers=JPEG).json()["nearest"]
    assert found[0]["file"] == data.sample_name("train", index)
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert found[0]["label"] == data.class_names[int(data.splits()["train"].source.targets[index])]
    assert [near["similarity"] for near in found] == sorted((near["similarity"] for near in found), reverse=True)
    assert found[0]["picture"].startswith("data:image/jpeg;base64,")


HOSTILE = {
    "truncated": (picture("JPEG", size=(60, 60))[:300], "image/jpeg", 400),
    "empty": (b"", "image/jpeg", 400),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml", 400),
    "zip": (b"PK\x03\x04" + bytes(200), "application/octet-stream", 400),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/x-eps", 400),
    "bomb": (png_bomb(), "image/png", 413),
    "text": (picture(), "text/plain", 415),
    "json": (b"{}", "application/json", 415),
    "curl --data-binary": (picture(), "application/x-www-form-urlencoded", 415),
    "no boundary": (picture(), "multipart/form-data", 400),
    "no form": (picture(), "multipart/form-data; boundary=x", 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused_with_one_line_and_leave_no_file(name, workdir, monkeypatch):
    (workdir / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(workdir / "temporary"))
    content, kind, status = HOSTILE[name]
    client = client_of(Brightness())
    response = client.post("/api/predict", content=content, headers={"Content-Type": kind})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.text.count("\n") == 1
    assert list(response.json()) == ["error"]
    assert "`" not in response.text  # a setting of the command line
    assert [path.name for path in workdir.rglob("*")] == ["temporary"]
    assert client.post("/api/predict", content=picture(), headers=JPEG).status_code == 200


def test_a_body_above_the_limit_is_refused_whether_or_not_it_says_its_size(workdir):
    client = client_of(Brightness(), most_bytes=100_000)
    for body in (bytes(1_000_000), (bytes(10_000) for _ in range(100)), (bytes(10_000) for _ in range(2_000))):
        response = client.post("/api/predict", content=body, headers=JPEG)
        assert (response.status_code, response.json()) == (413, {"error": "the image has more than 0.1 MB"})
    asked = {**JPEG, "Expect": "100-continue", "Content-Length": "1000000"}
    response = client.post("/api/predict", content=(pytest.fail("it was read") for _ in range(1)), headers=asked)
    assert response.status_code == 413
    response = client.post("/api/predict", files={"image": ("big.jpg", bytes(100_001))})
    assert response.status_code == 413


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\x\\..\\con", "a\r\nX: y.jpg", "\u202egpj.exe", "a" * 900, ""]
)
def test_the_name_of_a_file_is_not_looked_at(name):
    response = client_of(Brightness()).post("/api/predict", files={"image": (name or "x", picture())})
    assert response.status_code == 200
    assert name == "" or name not in response.text


def test_of_a_form_the_first_file_is_taken_and_other_fields_are_not():
    client = client_of(Brightness())
    dark, bright = picture(colour=(0, 0, 0)), picture(colour=(255, 255, 255))
    answer = client.post("/api/predict", data={"note": "x"}, files={"a": ("a.png", bright), "b": ("b.png", dark)})
    assert answer.json()["predicted"] == "bright"
    refused = client.post("/api/predict", data={"image": "x"}, files=[("note", (None, b"text"))])
    assert "the form has no file" in refused.json()["error"]
    assert client.post("/api/predict", files={"image": ("a.png", b"")}).json() == {"error": "the image is empty"}


def test_wrong_paths_methods_and_parameters_are_one_line():
    client = client_of(Brightness())
    assert client.get("/nowhere").json() == {"error": "there is no such path: see /docs"}
    assert client.get("/api/predict").status_code == 405
    wrong = client.post("/api/predict?explain=perhaps", content=picture(), headers=JPEG)
    assert wrong.status_code == 400
    assert wrong.json()["error"].startswith("explain: ")


def test_a_mistake_of_the_server_is_one_line_and_it_goes_on(capsys):
    model = Brightness()
    client = client_of(model)
    model.sizes = None
    response = client.post("/api/predict", content=picture(), headers=JPEG)
    assert (response.status_code, response.json()) == (500, {"error": "internal error"})
    assert "AttributeError" in capsys.readouterr().err
    model.sizes = []
    assert client.post("/api/predict", content=picture(), headers=JPEG).status_code == 200


def test_the_description_names_what_is_sent_and_what_comes_back():
    found = client_of(Brightness()).get("/openapi.json").json()
    assert set(found["paths"]) == {"/api/predict", "/api/model", "/health"}
    predict = found["paths"]["/api/predict"]["post"]
    assert "multipart/form-data" in predict["requestBody"]["content"]
    assert predict["responses"].keys() == {"200", "400", "401", "413", "415", "429", "503"}
    assert "HTTPValidationError" not in found["components"]["schemas"]
    assert "probabilities" in found["components"]["schemas"]["Prediction"]["properties"]
    assert client_of(Brightness()).get("/health").json() == {"status": "ok"}
    assert client_of(Brightness()).get("/api/model").json()["class_names"] == ["dark", "bright"]


def test_transparent_pixels_are_white():
    client = client_of(Brightness())
    answer = client.post("/api/predict", content=picture(colour=(0, 0, 0, 0)), headers=JPEG).json()
    assert answer["probabilities"]["bright"] == 1.0
    assert np.isclose(answer["probabilities"]["dark"], 0)
