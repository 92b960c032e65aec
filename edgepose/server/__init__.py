"""A web page and an API over a camera: the live picture in any browser, poses as JSON, and pictures sent in (extra `serve`).

source -> Hub (one thread, one inference) -> newest result -> Audience (one task) -> every viewer who is ready for it
pictures of visitors -> Visitors (one thread) -> poses
"""
