"""A web page and an API over a camera: the live picture in any browser, poses as JSON, and pictures sent in (extra `serve`).

source -> SourceInference (one thread) -> newest result -> Broadcast (one task) -> every viewer who is ready for it
pictures of visitors -> PictureInference (one thread) -> poses
"""
