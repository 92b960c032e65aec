"""A web page and an API over a camera: the live picture in any browser, poses as JSON, and pictures sent in (extra `serve`).

source -> SourceInference (a thread) -> newest result -> every viewer that is ready for it
visitors' pictures -> PictureInference (a thread) -> poses

`app.create_app` makes the application for any ASGI server; `uvicorn_server` runs it with limits below the application.
"""
