"""The session folder: schemas, streams, files, and sessions that lie elsewhere."""

from joulebench.session.reader import Session

__all__ = ["Session"]
