"""The contract of converters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joulebench.api import Artifact, Converter
from joulebench.testing.contracts.base import PluginContract, Subject, expect, not_here, require_available, subject_of
from joulebench.testing.contracts.checkpoints import as_artifact, config_of, in_format, tiny_checkpoint
from joulebench.testing.contracts.files import content_hash, expect_whole, written


class ConverterContract(PluginContract):
    """The promises of a converter, tested on the tiny checkpoint in the format that it reads."""

    kind = "converter"

    def test_it_leads_from_one_format_to_another(self, plugin: Any) -> None:
        """Two names that differ."""
        converter = subject_of(plugin).plugin
        expect(
            bool(converter.source) and bool(converter.target) and converter.source != converter.target,
            f"it converts '{converter.source}' to '{converter.target}'",
            "source and target name two artifact formats",
        )

    def test_it_says_which_models_it_takes(self, plugin: Any) -> None:
        """``supports`` gives None, or the reason why not; also where nothing is known."""
        converter = subject_of(plugin).plugin
        for architecture in (None, "LlamaForCausalLM", "NobodyKnowsForCausalLM"):
            reason: object = converter.supports(architecture)
            expect(
                reason is None or (isinstance(reason, str) and bool(reason)),
                f"supports({architecture!r}) gave {reason!r}",
                "return None where the model can be converted, else a sentence that says why not",
            )

    def test_it_writes_into_the_folder_and_leaves_its_source(self, plugin: Any, tmp_path: Path) -> None:
        """The output is in place, the source is what it was."""
        subject: Subject[Converter] = subject_of(plugin)
        source = _source(subject)
        output = written(tmp_path, "output", lambda folder: _convert(subject, source, folder))
        expect(
            content_hash(source.path) == source.content_hash,
            "its source is not what it was",
            "write into 'output' alone: the source is shared by all cells",
        )
        expect_whole(output, subject.plugin.target)

    def test_the_same_source_gives_the_same_files(self, plugin: Any, tmp_path: Path) -> None:
        """Results are cached under the hash of what goes in, so it must decide what comes out."""
        subject: Subject[Converter] = subject_of(plugin)
        source = _source(subject)
        outputs = [
            written(tmp_path, name, lambda folder: _convert(subject, source, folder)) for name in ("first", "second")
        ]
        expect(
            content_hash(outputs[0]) == content_hash(outputs[1]),
            "two conversions of one model differ",
            "leave out time stamps and random names; sort what has no order",
        )


def _source(subject: Subject[Converter]) -> Artifact:
    converter = subject.plugin
    require_available(converter)
    if subject.source is not None:
        return as_artifact(converter.source, subject.source)
    checkpoint = subject.model or tiny_checkpoint()
    architectures = config_of(checkpoint).get("architectures") or [None]
    fault = converter.supports(architectures[0])
    if fault:
        not_here(f"its supports() refuses the model: {fault}")
    return in_format(checkpoint, (converter.source,), {})


def _convert(subject: Subject[Converter], source: Artifact, output: Path) -> None:
    subject.plugin.convert(source.path, output, subject.complete_settings())
