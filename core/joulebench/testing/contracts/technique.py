"""The contract of techniques, on disk and at run time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact, ArtifactTechnique, Backend, RuntimeTechnique
from joulebench.testing.contracts.backend import PROMPT, opened
from joulebench.testing.contracts.base import (
    BrokenContractError,
    PluginContract,
    Subject,
    expect,
    expect_record,
    not_here,
    require_available,
    subject_of,
)
from joulebench.testing.contracts.checkpoints import config_of, in_format, new_folder, tiny_checkpoint
from joulebench.testing.contracts.files import content_hash, expect_whole, written


class ArtifactTechniqueContract(PluginContract):
    """What a technique on disk keeps: it changes the model, and its evidence is read from the files."""

    kind = "technique"

    def test_it_says_which_models_it_takes(self, plugin: Any) -> None:
        """``check`` gives None, or the reason why a model does not suit the settings."""
        subject, technique = _on_disk(plugin)
        settings = subject.complete_settings()
        for config in (config_of(subject.model or tiny_checkpoint()), {}, {"hidden_size": "?"}):
            reason: object = technique.check(settings, config)
            expect(
                reason is None or (isinstance(reason, str) and bool(reason)),
                f"check() gave {reason!r}",
                "return None, or a sentence that says why not; a config may lack any key",
            )

    def test_it_changes_the_model_and_leaves_its_source(self, plugin: Any) -> None:
        """The weights in the output are others than in the source, which is what it was."""
        subject, technique = _on_disk(plugin)
        source = _source(subject, technique)
        output = _result(subject, source)
        expect(
            content_hash(source.path) == source.content_hash,
            "its source is not what it was",
            "write into 'output' alone: the source is shared by all cells",
        )
        expect(
            content_hash(output) != source.content_hash,
            "nothing changed: the output is the source, byte for byte",
            "a model that the technique does not suit must be refused by check()",
        )
        expect_whole(output, technique.produces)

    def test_the_same_model_gives_the_same_files(self, plugin: Any, tmp_path: Path) -> None:
        """Results are cached under the hash of what goes in, so it must decide what comes out."""
        subject, technique = _on_disk(plugin)
        source = _source(subject, technique)
        outputs = [_result(subject, source), _applied(subject, source, tmp_path, "second")]
        expect(
            content_hash(outputs[0]) == content_hash(outputs[1]),
            "two applications to one model differ",
            "take the seed from a setting, leave out time stamps",
        )

    def test_its_evidence_is_plain_and_tells_a_change(self, plugin: Any) -> None:
        """Evidence of the changed model differs from that of a model that nobody touched."""
        subject, technique = _on_disk(plugin)
        source, settings = _source(subject, technique), subject.complete_settings()
        output = _result(subject, source)
        evidence = dict(technique.evidence(source.path, output, settings))
        expect_record(evidence, "evidence()")
        expect(bool(evidence), "its evidence is empty", "say what the files show: shares, types, bytes")
        if technique.produces != technique.accepts:
            return
        try:
            untouched = dict(technique.evidence(source.path, source.path, settings))
        except Exception:
            return  # it will not even look at a model that is no result of its own
        expect(
            evidence != untouched,
            f"its evidence of the changed model is that of one that nobody touched: {evidence}",
            "read from the files what the technique changes, not what the settings asked for",
        )


class RuntimeTechniqueContract(PluginContract):
    """What a technique at run time keeps: its evidence is what was observed in a session."""

    kind = "technique"

    def test_it_asks_something_of_the_session(self, plugin: Any) -> None:
        """A runtime technique states capabilities and gives options for ``open``."""
        subject, technique = _at_run_time(plugin)
        expect(
            bool(technique.requires),
            "it asks for no capability",
            "requires names what a backend must be able to do, such as 'kv.quantized'",
        )
        options: object = technique.session_options(subject.complete_settings())
        expect(
            isinstance(options, dict) and bool(options),
            f"session_options() gave {options!r}",
            "return the options that are merged into those of Backend.open",
        )

    def test_its_evidence_of_a_session_is_plain_and_tells_a_change(self, plugin: Any) -> None:
        """On each installed backend that can do it: with the technique the evidence is other."""
        subject, technique = _at_run_time(plugin)
        backends = _able(technique)
        if not backends:
            not_here(f"no installed backend has {', '.join(sorted(technique.requires))}")
        settings = subject.complete_settings()
        for backend in backends:
            evidence = _evidence(technique, settings, backend, dict(technique.session_options(settings)))
            expect_record(evidence, "evidence()")
            try:
                untouched = _evidence(technique, settings, backend, {})
            except Exception:  # noqa: S112  it will not even look at a session without it
                continue
            expect(
                evidence != untouched,
                f"on '{backend.name}' its evidence is the same without it: {evidence}",
                "read from the session what the technique changes, not what was asked for",
            )


class TechniqueContract(ArtifactTechniqueContract, RuntimeTechniqueContract):
    """The promises of a technique: it changes the model, and its evidence is observed.

    Tests for the other kind of technique are skipped.
    """


def _on_disk(plugin: Any) -> tuple[Subject[Any], ArtifactTechnique]:
    subject = subject_of(plugin)
    if not isinstance(subject.plugin, ArtifactTechnique):
        not_here("it acts at run time")
    return subject, subject.plugin


def _at_run_time(plugin: Any) -> tuple[Subject[Any], RuntimeTechnique]:
    subject = subject_of(plugin)
    if not isinstance(subject.plugin, RuntimeTechnique):
        not_here("it acts on files")
    return subject, subject.plugin


def _source(subject: Subject[Any], technique: ArtifactTechnique) -> Artifact:
    require_available(technique)
    checkpoint = subject.model or tiny_checkpoint()
    fault = technique.check(subject.complete_settings(), config_of(checkpoint))
    if fault:
        not_here(f"its check() refuses the model: {fault}")
    return in_format(checkpoint, (technique.accepts,), {})


#: What techniques have made of a source, by class, settings and the source's hash: claims share it.
_RESULTS: Final[dict[tuple[type, str, str], Path]] = {}


def _result(subject: Subject[Any], source: Artifact) -> Path:
    """The output of the technique for this source, made once in a process."""
    settings = repr(sorted(subject.complete_settings().items()))
    key = (type(subject.plugin), settings, source.content_hash)
    if key not in _RESULTS:
        _RESULTS[key] = _applied(subject, source, new_folder(), "output")
    return _RESULTS[key]


def _applied(subject: Subject[Any], source: Artifact, folder: Path, name: str) -> Path:
    settings = subject.complete_settings()
    return written(folder, name, lambda output: subject.plugin.apply(source.path, output, settings))


def _able(technique: RuntimeTechnique) -> list[Backend]:
    """Installed backends with the capabilities that the technique asks for."""
    from joulebench.registry.availability import availability_of
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    made = [registry.backend(name) for name in registry.names("backend")]
    return [
        file
        for file in made
        if technique.requires <= file.abilities(file.default_settings()) and availability_of(file).ok
    ]


def _evidence(
    technique: RuntimeTechnique, settings: dict[str, Any], backend: Backend, options: dict[str, Any]
) -> dict[str, Any]:
    """What is observed in a session of the backend, opened with these options."""
    known = {option.name for option in backend.options}
    if set(options) - known:
        raise BrokenContractError(
            f"session_options() gives {sorted(set(options) - known)}, which '{backend.name}' does not know",
            "a capability comes with its options: see the backend's documentation",
        )
    with opened(Subject(backend, options), "generate") as session:
        session.reset()
        session.prefill(list(PROMPT))
        session.step()
        return dict(technique.evidence(session, settings))
