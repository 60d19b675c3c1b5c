"""The paths of the server: the page, the JSON API and its description (OpenAPI)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from lit_cnn import __version__
from lit_cnn.data.decoding.formats import TooManyPixelsError
from lit_cnn.errors import UnreadableImageError, UserError
from lit_cnn.serve.batching import Batcher
from lit_cnn.serve.guard import Guard, headers_of, problem
from lit_cnn.serve.limits import Limits, RefusedError
from lit_cnn.serve.models import Answer, ServedModel
from lit_cnn.serve.pages import PAGES
from lit_cnn.serve.uploads import FORM, IMAGE, UNKNOWN, read_upload
from lit_cnn.utils.cpu import num_cores

T = TypeVar("T")
_SETTING = re.compile(r" \(`[^`]*`\)")  # how messages for the command line name a setting
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE_IN_FORM = {"schema": {"type": "object", "properties": {"image": _BINARY["schema"]}}}


@dataclass
class Problem:
    """Why a request was not answered."""

    error: Annotated[str, Field(description="one line")]


@dataclass
class Near:
    """A training picture whose features are like those of the image."""

    file: str
    label: str
    similarity: Annotated[float, Field(description="cosine")]
    picture: Annotated[str, Field(description="a small one, as a data: address")]


@dataclass
class Prediction:
    """What the model says of an image, in the words of lit-cnn predict."""

    predicted: Annotated[
        str | list[str],
        Field(description="class; of a model with any number of labels those above one half"),
    ]
    probabilities: Annotated[
        dict[str, float], Field(description="by class, calibrated; of more than 100 classes the five most probable")
    ]
    probability: Annotated[float | None, Field(description="of the predicted class")] = None
    prediction_set: Annotated[
        list[str] | None, Field(description="classes, that hold the true one for 90 of 100 images")
    ] = None
    ood_score: Annotated[float | None, Field(description="standard deviations above an average validation image")] = (
        None
    )
    ood: Annotated[bool | None, Field(description="unlike the validation images: maybe none of these classes")] = None
    explained: Annotated[str | None, Field(description="class of the heat map")] = None
    picture: Annotated[str | None, Field(description="the image as the network gets it, as a data: address")] = None
    heat_map: Annotated[str | None, Field(description="the same with Grad-CAM's map")] = None
    nearest: Annotated[list[Near] | None, Field(description="training pictures, the nearest first")] = None


@dataclass
class ModelFacts:
    """What is served, and the limits."""

    name: str
    backbone: str
    class_names: list[str]
    multilabel: Annotated[bool, Field(description="whether an image has any number of labels")]
    why_no_heat_map: Annotated[str, Field(description="empty where answers can be explained")]
    why_none_near: Annotated[str, Field(description="empty where the nearest training pictures are known")]
    max_bytes: Annotated[int, Field(description="of an image file")]
    max_pixels: Annotated[int, Field(description="of an image")]
    version: str = __version__


@dataclass
class Service:
    """The threads that answer: some that decode, and one that runs the network.

    Attributes:
        model: that answers.
        limits: of the server.
        facts: of the model.
    """

    model: ServedModel
    limits: Limits
    facts: ModelFacts
    decoders: ThreadPoolExecutor = field(init=False)
    network: ThreadPoolExecutor = field(init=False)
    batcher: Batcher[np.ndarray, Answer] = field(init=False)

    def __post_init__(self) -> None:
        self.decoders = ThreadPoolExecutor(min(8, num_cores()), thread_name_prefix="decode")
        self.network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self.batcher = Batcher(self.model.answer, self.network, self.limits.batch_size)

    async def predict(self, request: Request, explain: bool, label: str | None, nearest: bool) -> Answer:
        """Answer a request.

        Raises:
            RefusedError: its image or its parameters are wrong.
        """
        if (explain or label is not None) and self.model.why_no_heat_map:
            raise RefusedError(400, self.model.why_no_heat_map)
        if nearest and self.model.why_none_near:
            raise RefusedError(400, self.model.why_none_near)
        if label is not None and label not in self.model.class_names:
            raise RefusedError(400, f"there is no class {label[:80]!r}")
        image = await _in(self.decoders, decode, self.model, await read_upload(request, self.limits))
        answer = await self.batcher.submit(image)
        if explain or label is not None:
            number = self.model.class_names.index(label if label is not None else _first(answer))
            answer |= await _in(self.network, self.model.explain, image, number)
        if nearest:
            answer["nearest"] = await _in(self.network, self.model.nearest, image)
        return answer

    def close(self) -> None:
        """End the threads when they are done."""
        self.decoders.shutdown()
        self.network.shutdown()


async def _in(executor: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, work, *args)


def decode(model: ServedModel, content: bytes) -> np.ndarray:
    """Decode an upload.

    Raises:
        RefusedError: it cannot be decoded.
    """
    try:
        return model.decode(content)
    except UnreadableImageError as error:
        status = 413 if isinstance(error.__cause__, TooManyPixelsError) else 400
        raise RefusedError(status, f"cannot read the image: {_SETTING.sub('', error.reason)}") from error
    except UserError as error:  # no memory, or no file handles
        raise RefusedError(503, "no memory for this image now: try again", 5.0) from error


def _first(answer: Answer) -> str:
    """The most probable class of an answer."""
    return max(answer["probabilities"], key=answer["probabilities"].__getitem__)


def build_app(model: ServedModel, limits: Limits, facts: ModelFacts) -> tuple[Guard, Service]:
    """The ASGI application, and the service behind it.

    Args:
        model: that answers.
        limits: of the server.
        facts: of the model, for the page.
    """
    service = Service(model, limits, facts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="lit-cnn",
        version=__version__,
        description="Classify images as lit-cnn predict does. With a token: Authorization: Bearer TOKEN.",
        docs_url=None,  # FastAPI's page loads its scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_api(app, service)
    _add_pages(app)
    _add_errors(app)
    _describe(app)
    return Guard(app, limits), service


def _describe(app: FastAPI) -> None:
    """Make openapi.json, without FastAPI's own error for wrong parameters, in whose place 400 is sent."""
    found = app.openapi()  # which the application keeps
    for methods in found["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)


def _add_api(app: FastAPI, service: Service) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        400: {"model": Problem, "description": "the image cannot be read, or a parameter is wrong"},
        401: {"model": Problem, "description": "the token is missing or wrong"},
        413: {"model": Problem, "description": "too many bytes or pixels"},
        415: {"model": Problem, "description": "not sent as an image"},
        429: {"model": Problem, "description": "too many images a second: see Retry-After"},
        503: {"model": Problem, "description": "busy: see Retry-After"},
    }
    content = {f"{IMAGE}*": _BINARY, UNKNOWN: _BINARY, FORM: _FILE_IN_FORM}

    @app.post(
        "/api/predict",
        summary="Classify an image",
        response_model=None,
        responses={200: {"model": Prediction}, **refusals},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def predict(
        request: Request,
        explain: Annotated[bool, Query(description="add the heat map of the predicted class")] = False,
        label: Annotated[str | None, Query(description="add the heat map of this class")] = None,
        nearest: Annotated[bool, Query(description="add the nearest training pictures")] = False,
    ) -> Response:
        return JSONResponse(await service.predict(request, explain, label, nearest))

    known: dict[int | str, dict[str, Any]] = {200: {"model": ModelFacts}, 401: refusals[401]}

    @app.get("/api/model", summary="The model and the limits", response_model=None, responses=known)
    async def model() -> Response:
        return JSONResponse(service.facts.__dict__)

    @app.get("/health", summary="Whether the server answers", response_model=None)
    async def health() -> Response:
        return JSONResponse({"status": "ok"})


def _add_pages(app: FastAPI) -> None:
    for path, page in PAGES.items():
        app.router.add_route(path, _sender(*page), methods=["GET"], include_in_schema=False)


def _sender(kind: str, content: bytes) -> Callable[[Request], Any]:
    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return send


def _add_errors(app: FastAPI) -> None:
    """Make every error one line of JSON."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return Response(problem(error.reason), error.status, headers_of(error), media_type="application/json")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        reason = {404: "there is no such path: see /docs", 405: "not by this method: see /docs"}
        return Response(
            problem(reason.get(error.status_code, str(error.detail))), error.status_code, error.headers,
            media_type="application/json",
        )  # fmt: skip

    @app.exception_handler(Exception)  # which the guard reports
    async def mistake(request: Request, error: Exception) -> Response:
        return Response(problem("internal error"), 500, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()[:3]]
        return Response(problem("; ".join(found)), 400, media_type="application/json")
