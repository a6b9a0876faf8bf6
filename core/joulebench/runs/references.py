"""Before cells are measured: each model's reference answers the prompts once, in its own worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.api import Scalar
from joulebench.errors import JoulebenchError
from joulebench.plan.cells import PlannedReference
from joulebench.runs.orders import GREETING_S, Job, ScoredText, TextScore, decoded, opening_order
from joulebench.worker.process import WorkerError, WorkerProcess

#: Folder of the session in which answers and logits are kept until the run ends.
_FOLDER: Final = ".references"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference left for others to be compared with; or the reason why there is nothing.

    ``about`` goes into the record of each cell. ``text`` is how it scores the profile's text.
    """

    about: Mapping[str, Scalar]
    folder: Path | None = None
    text: TextScore | None = None
    reason: str | None = None


class References:
    """The references of a run, each made when a cell first needs it."""

    def __init__(
        self,
        session: Path,
        planned: Mapping[str, PlannedReference],
        prompts: tuple[str, Path],
        count: int,
        tokens: int,
        text: ScoredText | None,
        job_of: Callable[[PlannedReference], Job],
        say: Callable[[str], None],
    ) -> None:
        self._folder = session / _FOLDER
        self._planned = planned
        self._prompts_name, self._prompts = prompts
        self._count, self._tokens = count, tokens
        self._text = text
        self._job_of = job_of
        self._say = say
        self._known: dict[str, Reference] = {}
        self.forget()  # what a killed run left

    def prepare(self, models: Iterable[str]) -> bool:
        """Make the references of these models, as far as there are none yet; whether any was made."""
        missing = [model for model in dict.fromkeys(models) if model not in self._known]
        for model in missing:
            self._known[model] = self._made(self._planned[model])
        return bool(missing)

    def of(self, model: str) -> Reference:
        """The reference of a model that has been prepared."""
        return self._known[model]

    def forget(self) -> None:
        """Remove what is on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _made(self, planned: PlannedReference) -> Reference:
        about: dict[str, Scalar] = {
            "label": planned.label,
            "backend": planned.backend,
            "device": planned.device,
            "prompts": self._prompts_name,
        }
        if planned.reason is not None:
            return self._missing(about, planned.reason)
        self._say(f"reference {planned.label}: answering {self._count} prompts of {planned.model}")
        folder = self._folder / str(len(self._known))
        try:
            folder.mkdir(parents=True)
            return self._answered(planned, about, folder)
        except JoulebenchError as error:
            return self._missing(about, str(error))
        except WorkerError as error:
            return self._missing(about, error.cause.message)
        except OSError as error:
            return self._missing(about, f"{folder}: {error.strerror}")

    def _missing(self, about: dict[str, Scalar], reason: str) -> Reference:
        text = f"no reference: {about['label']} cannot run: {reason}"
        self._say(f"agreement is not checked, {text}")
        return Reference(about, reason=text)

    def _answered(self, planned: PlannedReference, about: dict[str, Scalar], folder: Path) -> Reference:
        job = self._job_of(planned)
        worker = WorkerProcess(job.environment, job.limits.memory_bytes, python=job.python)
        try:
            worker.greet(GREETING_S)
            opening = opening_order(job, planned.backend_plugin, planned.device)
            opened = worker.ask(opening.to_json(), job.limits.open_s, limit_name="limits.open_s")

            def ask(order: Mapping[str, Any]) -> dict[str, Any]:
                return worker.ask(order, job.limits.block_s, limit_name="limits.block_s")

            kept = ask(
                {
                    "op": "refer",
                    "prompts": str(self._prompts),
                    "count": self._count,
                    "tokens": self._tokens,
                    "folder": str(folder),
                }
            )
            text: TextScore | None = None
            if self._text is not None and job.can_be_judged:
                text = decoded(self._text.score, ask(self._text.order()))
            worker.close()
        finally:
            worker.kill()
            worker.close()
        facts = opened.get("facts") or {}
        about = {
            **about,
            "dtype": facts.get("dtype"),
            "random_prompts": bool(kept["random"]),
            "smallest_gap": None if kept["smallest_gap"] is None else float(kept["smallest_gap"]),
        }
        return Reference(about, folder, text)
