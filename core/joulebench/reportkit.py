"""What authors of renderers may build on: the reports' own values, media and words.

Import from it inside ``render``: a command that shows no report needs none of it.
"""

from joulebench_reports.kit import *  # noqa: F403
from joulebench_reports.kit import __all__ as __all__  # noqa: PLC0414
