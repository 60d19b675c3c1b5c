"""The server of ``lit-cnn serve``: a page and a JSON API that answer as ``lit-cnn predict`` does.

``models.py`` decodes uploads and answers them, ``batching.py`` answers together what waits, ``guard.py`` refuses what
must not reach them, ``uploads.py`` reads bodies, ``app.py`` has the paths, ``server.py`` the socket and the signals.
FastAPI and uvicorn are imported by ``app.py``, ``uploads.py`` and ``server.py`` alone.
"""
